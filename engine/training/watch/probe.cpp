#include "engine/training/watch/probe.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "kernels/product_key/picked_scores.h"
#include "kernels/runtime/runtime.h"
#include "kernels/statistics/statistics.h"

namespace memengine {
namespace {

std::int64_t memory_layers(const Transformer& transformer) {
  return static_cast<std::int64_t>(transformer.config().memory_layers().size());
}

// The embedding's state; of each layer two states and two outputs; of each lookup three tensors.
std::int64_t tensor_count(const Transformer& transformer) {
  return 1 + 4 * transformer.config().n_layers + 3 * memory_layers(transformer);
}

Tensor allocate_numbers(Arena& arena, const Transformer& transformer) {
  return arena.allocate("probe", DType::f64, {tensor_count(transformer), statistics_count});
}

Tensor allocate_scores(Arena& arena, const Transformer& transformer) {
  if (memory_layers(transformer) == 0) return {};
  const ProductKeyConfig& args = transformer.config().productkey_args;
  const DType dtype = transformer.size().dtype == DType::f64 ? DType::f64 : DType::f32;
  return arena.allocate("probe", dtype, {transformer.size().tokens, args.mem_heads, args.mem_knn});
}

std::unique_ptr<double, void (*)(void*)> host_numbers(std::int64_t count, Device device) {
  const auto bytes = static_cast<std::size_t>(count) * sizeof(double);
  if (device == Device::cuda) return {static_cast<double*>(allocate_pinned(bytes)), free_pinned};
  return {static_cast<double*>(std::malloc(bytes)), std::free};
}

}  // namespace

std::int64_t Probe::planned_bytes(const Transformer& transformer) {
  Arena planning;
  allocate_numbers(planning, transformer);
  allocate_scores(planning, transformer);
  return planning.planned_bytes();
}

std::int64_t Probe::scratch_bytes(const Transformer& transformer, Device device) {
  const ModelConfig& config = transformer.config();
  const ProductKeyConfig& args = config.productkey_args;
  return statistics_scratch_bytes(
      device, transformer.size().tokens * std::max(config.dim, args.mem_heads * args.mem_knn));
}

Probe::Probe(std::int64_t every, const Transformer& transformer, Device device)
    : every_(every),
      arena_(device, planned_bytes(transformer)),
      numbers_(allocate_numbers(arena_, transformer)),
      scores_(allocate_scores(arena_, transformer)),
      on_host_(host_numbers(numbers_.size(), device)) {}

Tensor Probe::next(const std::string& name, std::int64_t count) {
  names_.push_back(name);
  counts_.push_back(count);
  return numbers_.rows(static_cast<std::int64_t>(names_.size()) - 1, 1);
}

void Probe::attach(const Context& context, PassHooks& hooks) {
  names_.clear();
  counts_.clear();
  hooks.computed = [this, &context](const std::string& name, const Tensor& x) {
    statistics(context, next(name, x.size()), x);
  };
  hooks.looked_up = [this, &context](const std::string& name, const MemoryLookup& lookup) {
    const Tensor scores = scores_.rows(0, lookup.picks.dim(0));
    picked_scores(context, scores, lookup.picks, lookup.query, lookup.sub_keys);
    statistics(context, next(name + ".scores", scores.size()), scores);
    statistics(context, next(name + ".weights", lookup.weights.size()), lookup.weights);
    const std::int64_t rows = lookup.weights.dim(0) * lookup.weights.dim(1);
    entropy_statistics(context, next(name + ".entropy", rows),
                       lookup.weights.reshape({rows, lookup.weights.dim(2)}));
  };
}

void Probe::fetch(const Context& context, std::int64_t step) {
  copy_bytes(context, on_host_.get(), numbers_.data(), numbers_.bytes());
  fetched_.record(context);
  pending_ = step;
}

std::optional<ProbeReport> Probe::take() {
  if (pending_ < 0) return std::nullopt;
  fetched_.wait();
  ProbeReport report;
  report.step = pending_;
  pending_ = -1;
  const double* numbers = on_host_.get();
  for (std::size_t i = 0; i < names_.size(); ++i, numbers += statistics_count) {
    const auto count = static_cast<double>(counts_[i]);
    const double mean = numbers[0] / count;
    const double variance = numbers[1] / count - mean * mean;
    // Rounding may leave a variance of zero slightly below it; a NaN stays one.
    report.tensors.push_back(
        {names_[i], mean, std::sqrt(variance < 0 ? 0 : variance), numbers[2], numbers[3] / count});
  }
  return report;
}

}  // namespace memengine
