// Parts, and a broadcast of each.
#include "engine/training/exchange/weight_shards.h"

#include "kernels/runtime/communicator.h"

namespace memengine {

WeightShards::WeightShards(const ParameterStore& parameters, RankPlace place, bool wanted)
    : place_(place), begins_(parameters.shards(wanted ? place.size : 1)) {}

std::optional<std::int64_t> WeightShards::first() const {
  if (begins_.size() == 2) return std::nullopt;
  return begins_[static_cast<std::size_t>(place_.rank)];
}

std::int64_t WeightShards::count() const {
  const std::size_t part = begins_.size() == 2 ? 0 : static_cast<std::size_t>(place_.rank);
  return begins_[part + 1] - begins_[part];
}

void WeightShards::hand_out(const Context& context, const DenseParameters& dense) const {
  if (begins_.size() == 2) return;
  const ExchangePurpose purpose(*context.communicator, "weights");
  for (std::size_t r = 0; r + 1 < begins_.size(); ++r) {
    const std::int64_t length = begins_[r + 1] - begins_[r];
    if (length == 0) continue;
    for (const Tensor& block : {dense.values, dense.compute}) {
      if (block.empty()) continue;
      context.communicator->broadcast(context, block.rows(begins_[r], length), static_cast<int>(r));
    }
  }
}

}  // namespace memengine
