// What a row says: its value taken through the layer's output and the model's head.
//
//     tokens of  head(norm(value_proj(value * gate)))
//
// An approximation ("logit lens", nostalgebraist 2020; of feed-forward values: Geva et al. 2022):
// in the model the row is one of many in a bag, which is added to a residual state that later
// layers go on with. The gate is silu(swilu_projection(x)) of the tokens that read the row, their
// mean, where such a gate is given; else 1. Biases, which all rows have in common, are left out.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "engine/memory_probe/probe_model.h"
#include "engine/model_files/weight_reader.h"

namespace memengine {

class ValueReadout {
 public:
  explicit ValueReadout(const ProbeModel& model);

  // The row's weights in FP32, [v_dim], of the table that memory `memory` reads.
  std::vector<float> value(std::size_t memory, std::int64_t row) const;

  // The `count` tokens of the largest logits, with how far these lie above the mean of all tokens'.
  // `gate` [v_dim] or empty.
  std::vector<std::pair<std::int32_t, double>> strongest(std::size_t memory, std::int64_t row,
                                                         const std::vector<double>& gate,
                                                         std::size_t count);

 private:
  std::vector<float> tensor(const std::string& name) const;

  const ProbeModel& model_;
  WeightReader weights_;
  std::vector<float> norm_, head_;
  std::vector<std::vector<float>> projection_;  // of each memory, read when first asked for
};

// The update at which each of these rows was last changed, 0: never; of a checkpoint only, which
// keeps it for sparse Adam (lazy decay). None elsewhere.
std::optional<std::vector<std::int64_t>> last_updates(const ModelSource& source, std::size_t memory,
                                                      const std::vector<std::int64_t>& rows);

}  // namespace memengine
