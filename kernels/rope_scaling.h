// How a model that was trained on short texts turns its rotary pairs on longer ones.
#pragma once

#include <cstdint>

namespace memengine {

enum class RopeScalingType {
  none,
  linear,  // all frequencies divided by the factor (position interpolation, Chen et al. 2023)
  llama3,  // the slow ones divided, the fast ones left, those between a mixture (Llama 3.1)
};

struct RopeScaling {
  RopeScalingType type = RopeScalingType::none;
  double factor = 1;
  // Of llama3: a pair is slow when it turns less than low_freq_factor times within the original
  // length, fast when more than high_freq_factor times.
  double low_freq_factor = 1, high_freq_factor = 4;
  std::int64_t original_max_position_embeddings = 8192;

  bool operator==(const RopeScaling&) const = default;
};

}  // namespace memengine
