// Plans are only counted, not allocated, so trying many of them is cheap.
#include "engine/training/plan_advice.h"

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/training/training_model.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

bool fits(const RunConfig& config, Device device, const MemoryBudget& budget) {
  try {
    validate(config);
    return !plan_shortage(TrainingModel::plan(config, device), device, budget);
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    return false;
  }
}

struct Knob {
  const char* key;
  std::int64_t& (*field)(RunConfig&);
};

constexpr Knob knobs[] = {
    {"data.batch_size", [](RunConfig& run) -> std::int64_t& { return run.data.batch_size; }},
    {"data.seq_len", [](RunConfig& run) -> std::int64_t& { return run.data.seq_len; }},
    {"model.productkey_args.mem_n_keys",
     [](RunConfig& run) -> std::int64_t& { return run.model.productkey_args.mem_n_keys; }},
};

// The largest value below the present one that fits, 0 when none does.
std::int64_t largest_that_fits(RunConfig config, const Knob& knob, Device device,
                               const MemoryBudget& budget) {
  std::int64_t& value = knob.field(config);
  std::int64_t low = 0;  // fits, or nothing is known to
  std::int64_t high = value;
  while (high - low > 1 + low / 64) {  // to a percent or two is near enough
    value = low + (high - low) / 2;
    config.model.max_seqlen = config.data.seq_len;
    (fits(config, device, budget) ? low : high) = value;
  }
  return low;
}

// All knobs halved as often as it takes, each down to its least; empty when even that is too much.
std::string all_that_fit(const RunConfig& config, Device device, const MemoryBudget& budget) {
  const bool memory = config.model.productkey_args.is_enabled;
  for (int halvings = 1; halvings < 40; ++halvings) {
    RunConfig smaller = config;
    std::vector<std::string> advice;
    for (const Knob& knob : knobs) {
      const bool of_memory = std::string_view(knob.key).find("mem_n_keys") != std::string::npos;
      if (of_memory && !memory) continue;
      RunConfig now = config;
      const std::int64_t value = knob.field(now);
      const std::int64_t least = of_memory ? config.model.productkey_args.mem_knn : 1;
      knob.field(smaller) = std::min(value, std::max(value >> halvings, least));
      advice.push_back(fmt::format("{}={} (now {})", knob.key, knob.field(smaller), value));
    }
    smaller.model.max_seqlen = smaller.data.seq_len;
    if (fits(smaller, device, budget)) return fmt::format("set {}", fmt::join(advice, " and "));
  }
  return "";
}

}  // namespace

std::string keys_that_fit(const RunConfig& config, Device device) {
  return keys_that_fit(config, device, MemoryBudget::here(device));
}

std::string keys_that_fit(const RunConfig& config, Device device, const MemoryBudget& budget) {
  std::vector<std::string> advice;
  const ProductKeyConfig& memory = config.model.productkey_args;
  if (device == Device::cuda && memory.is_enabled && !memory.zero_copy) {
    RunConfig host = config;
    host.model.productkey_args.zero_copy = true;
    if (fits(host, device, budget)) advice.push_back("model.productkey_args.zero_copy=true");
  }
  for (const Knob& knob : knobs) {
    if (!memory.is_enabled && std::string(knob.key).find("mem_n_keys") != std::string::npos)
      continue;
    RunConfig now = config;
    const std::int64_t value = largest_that_fits(config, knob, device, budget);
    if (value > 0)
      advice.push_back(fmt::format("{}={} (now {})", knob.key, value, knob.field(now)));
  }
  if (advice.empty()) {
    const std::string together = all_that_fit(config, device, budget);
    if (!together.empty()) return together;
    return "lower the model's size (model.dim, model.n_layers): no batch and no table is so small";
  }
  return fmt::format("set {}", fmt::join(advice, " or "));
}

}  // namespace memengine
