#include "engine/training/watch/collapse_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

namespace memengine {
namespace {

constexpr std::int64_t first_look = 100;  // updates
constexpr std::int64_t least_between = 50;
constexpr int looks_to_be_sure = 3;
constexpr double collapsed_share = 0.1;
constexpr std::int64_t most_picks = 1 << 20;  // that a look counts of a layer

// How many different numbers `integers` (i32, on the device, each below `bound`) holds.
std::int64_t distinct(Runtime& runtime, const Tensor& integers, std::int64_t bound) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(integers.size()));
  copy_bytes(runtime.context(), values.data(), integers.data(), integers.bytes());
  runtime.synchronize();
  std::vector<std::uint64_t> seen(static_cast<std::size_t>((bound + 63) / 64));
  for (const std::int32_t value : values) {
    seen.at(static_cast<std::size_t>(value) / 64) |= std::uint64_t{1} << (value % 64);
  }
  std::int64_t count = 0;
  for (const std::uint64_t bits : seen) count += std::popcount(bits);
  return count;
}

}  // namespace

double expected_rows(std::int64_t distinct_tokens, std::int64_t picks_per_token,
                     std::int64_t rows) {
  const auto all = static_cast<double>(rows);
  return -all * std::expm1(-static_cast<double>(distinct_tokens) *
                           static_cast<double>(picks_per_token) / all);
}

std::int64_t tokens_looked_at(std::int64_t tokens, std::int64_t picks_per_token) {
  return std::min(tokens, std::max(std::int64_t{1}, most_picks / picks_per_token));
}

CollapseWatch::CollapseWatch(const RunConfig& config)
    : memory_(config.model.productkey_args), next_look_(first_look) {
  for (const std::int64_t layer : config.model.memory_layers()) layers_.push_back({layer});
}

std::vector<std::string> CollapseWatch::look(Runtime& runtime, const Transformer& transformer,
                                             const Tensor& tokens, std::int64_t step) {
  next_look_ = step + std::max(least_between, step / 5);
  std::vector<std::string> said;
  const std::vector<MemoryBank>& banks = transformer.banks();
  const std::int64_t picks_per_token = banks.front().picks(0, 1).dim(1);
  const std::int64_t looked_at = tokens_looked_at(tokens.size(), picks_per_token);
  const std::int64_t distinct_tokens = distinct(
      runtime, tokens.reshape({tokens.size()}).rows(0, looked_at), transformer.config().vocab_size);
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    if (layer.announced) continue;
    // A shared bank has a slot for each reader, an own bank one slot (of the first micro-batch).
    const bool shared = banks.size() == 1;
    const MemoryBank& bank = shared ? banks.front() : banks[i];
    const Tensor picks = bank.picks(shared ? static_cast<std::int64_t>(i) : 0, tokens.size());
    const std::int64_t rows = bank.values().table_rows();
    const std::int64_t reached = distinct(runtime, picks.rows(0, looked_at), rows);
    const double expected = expected_rows(distinct_tokens, picks_per_token, rows);
    if (static_cast<double>(reached) >= collapsed_share * expected) {
      layer.low_looks = 0;
      continue;
    }
    if (layer.low_looks++ == 0) layer.low_since = step;
    if (layer.low_looks < looks_to_be_sure) continue;
    layer.announced = true;
    said.push_back(fmt::format(
        "the memory of layer {} has collapsed: since update {}, {} distinct tokens of a batch "
        "reach few of its {} rows ({} at update {}, where an even use would reach {:.0f}), so "
        "the layer adds next to nothing; {}",
        layer.number, layer.low_since, distinct_tokens, rows, reached, step, expected, advice()));
  }
  return said;
}

std::string CollapseWatch::advice() const {
  std::vector<std::string> keys;
  if (memory_.mem_query_norm != QueryNorm::batchnorm) {
    keys.push_back("model.productkey_args.mem_query_norm=batchnorm");
  }
  if (memory_.value_fixed_lr && *memory_.value_fixed_lr < 3e-2) {
    keys.push_back(
        fmt::format("a larger model.productkey_args.value_fixed_lr (3e-2 to 1e-1; now "
                    "{:g})",
                    *memory_.value_fixed_lr));
  }
  if (!memory_.value_init_std || *memory_.value_init_std > 0.02) {
    keys.push_back("model.productkey_args.value_init_std=0.02");
  }
  if (keys.empty()) keys.push_back("a lower optim.lr or a longer optim.warmup");
  return fmt::format("try {}, in a new run", fmt::join(keys, ", "));
}

}  // namespace memengine
