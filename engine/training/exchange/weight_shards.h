// Whose the optimizer's state of the dense parameters is (ZeRO-1, Rajbhandari et al. 2020,
// arXiv 1910.02054).
//
// With distributed.zero1 each of several ranks has the moments of its part of the flat block alone,
// whole parameters, and updates that part; then every rank hands its new weights to the others. The
// gradients are summed and measured as without, and a number's update depends on that number alone,
// so the weights are the same to the bit, whoever computes them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/runtime/context.h"
#include "kernels/runtime/ranks/rank_place.h"
#include "model/parameter.h"
#include "optim/optimizer.h"

namespace memengine {

class WeightShards {
 public:
  // Of `parameters`, which are placed; with `wanted` false or one rank, each rank has all.
  WeightShards(const ParameterStore& parameters, RankPlace place, bool wanted);

  // The optimizer's part of the flat block, in its settings' form: empty where that is all.
  std::optional<std::int64_t> first() const;
  std::int64_t count() const;

  // After the update: every rank gets the weights that the others have updated.
  void hand_out(const Context& context, const DenseParameters& dense) const;

 private:
  RankPlace place_;
  std::vector<std::int64_t> begins_;  // [ranks + 1]; with all everywhere {0, n}
};

}  // namespace memengine
