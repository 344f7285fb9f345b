// Plain loops over the weights as the file has them: one row is asked for at a time.
#include "engine/memory_probe/rows/value_readout.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "io/checkpoints/checkpoint.h"
#include "kernels/runtime/error.h"

namespace memengine {

ValueReadout::ValueReadout(const ProbeModel& model)
    : model_(model), weights_(open_weights(model.source())), projection_(model.layers().size()) {
  norm_ = tensor("norm.weight");
  head_ = tensor(model.config().weight_tying ? "tok_embeddings.weight" : "output.weight");
}

std::vector<float> ValueReadout::tensor(const std::string& name) const {
  const TensorInfo* info = weights_.find(name);
  if (info == nullptr) return {};
  std::vector<float> numbers(info->bytes / sizeof(float));
  weights_.read(name, 0, std::as_writable_bytes(std::span(numbers)));
  return numbers;
}

std::vector<float> ValueReadout::value(std::size_t memory, std::int64_t row) const {
  std::vector<float> value(static_cast<std::size_t>(model_.config().value_dim()));
  weights_.read(model_.table_name(memory), static_cast<std::uint64_t>(row) * value.size() * 4,
                std::as_writable_bytes(std::span(value)));
  return value;
}

std::vector<std::pair<std::int32_t, double>> ValueReadout::strongest(
    std::size_t memory, std::int64_t row, const std::vector<double>& gate, std::size_t count) {
  const std::vector<float> value = this->value(memory, row);
  std::vector<double> gated(value.begin(), value.end());
  for (std::size_t i = 0; i < gate.size(); ++i) gated[i] *= gate[i];

  std::vector<float>& projection = projection_[memory];
  if (projection.empty()) {
    projection =
        tensor(fmt::format("layers.{}.feed_forward.value_proj.weight", model_.layers()[memory]));
  }
  std::vector<double> out = gated;
  if (!projection.empty()) {  // [C, v_dim]
    out.assign(norm_.size(), 0);
    for (std::size_t c = 0; c < out.size(); ++c) {
      const float* weights = projection.data() + c * gated.size();
      out[c] = std::inner_product(gated.begin(), gated.end(), weights, 0.0);
    }
  }
  double squares = 0;
  for (const double x : out) squares += x * x;
  const double inverse_rms = 1 / std::sqrt(squares / static_cast<double>(out.size()) + 1e-30);
  for (std::size_t c = 0; c < out.size(); ++c) out[c] *= inverse_rms * norm_[c];

  const std::size_t tokens = head_.size() / out.size();
  std::vector<double> logits(tokens);
#pragma omp parallel for
  for (std::int64_t token = 0; token < static_cast<std::int64_t>(tokens); ++token) {
    const float* weights = head_.data() + static_cast<std::size_t>(token) * out.size();
    logits[static_cast<std::size_t>(token)] =
        std::inner_product(out.begin(), out.end(), weights, 0.0);
  }
  const double mean =
      std::accumulate(logits.begin(), logits.end(), 0.0) / static_cast<double>(tokens);
  std::vector<std::int32_t> order(tokens);
  std::iota(order.begin(), order.end(), 0);
  count = std::min(count, tokens);
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                    [&](std::int32_t a, std::int32_t b) {
                      const double x = logits[static_cast<std::size_t>(a)];
                      const double y = logits[static_cast<std::size_t>(b)];
                      return x > y || (x == y && a < b);
                    });
  std::vector<std::pair<std::int32_t, double>> strongest;
  for (std::size_t i = 0; i < count; ++i) {
    strongest.emplace_back(order[i], logits[static_cast<std::size_t>(order[i])] - mean);
  }
  return strongest;
}

std::optional<std::vector<std::int64_t>> last_updates(const ModelSource& source, std::size_t memory,
                                                      const std::vector<std::int64_t>& rows) {
  if (source.kind != ModelSource::Kind::checkpoint) return std::nullopt;
  const Checkpoint checkpoint(source.folder);
  const std::string name = value_table_name(source.model, memory) + ".last_step";
  if (checkpoint.find(name) == nullptr) return std::nullopt;
  std::vector<std::int64_t> steps;
  for (const std::int64_t row : rows) {
    std::int32_t step = 0;
    checkpoint.read(name, static_cast<std::uint64_t>(row) * 4,
                    std::as_writable_bytes(std::span(&step, 1)));
    steps.push_back(step);
  }
  return steps;
}

}  // namespace memengine
