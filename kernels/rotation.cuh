// The rotation of one pair of a head (rope.h) on CUDA.
//
// The FP32 angle may be many turns, so it is reduced to a part of one turn in double precision;
// what follows is exact to FP32 at any position.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/rope.h"

namespace memengine::cuda {

inline constexpr int max_pairs = 128;

// Of each pair: the angle from one position to the next.
struct Frequencies {
  float angle[max_pairs] = {};

  Frequencies() = default;
  Frequencies(const RopeAngles& angles, std::int64_t head_dim) {
    for (std::int64_t i = 0; i < head_dim / 2; ++i) angle[i] = rope_frequency(angles, i, head_dim);
  }
};

// Cosine and sine of angle * direction.
__device__ __forceinline__ float2 rotation_of(float angle, float direction) {
  const double turns = angle * (0.5 / M_PI);
  const auto half_turns = static_cast<float>(2.0 * (turns - rint(turns)));
  float sine;
  float cosine;
  sincospif(half_turns, &sine, &cosine);
  return make_float2(cosine, direction * sine);
}

__device__ __forceinline__ float2 rotate_pair(float2 rotation, float x, float y) {
  return make_float2(x * rotation.x - y * rotation.y, x * rotation.y + y * rotation.x);
}

}  // namespace memengine::cuda
