// Candidates of one list as 32-bit integers: how far a score stands below the list's best one, in
// 25 bits, and a tag of 7 bits that says where the candidate is. Sorting them costs a third of what
// whole keys (candidate.cuh) cost.
//
// The distance is (top - score) scaled to the list's range and cut to an integer. Subtraction,
// multiplication and cutting are each monotone, so two short keys that differ above their tags
// order like the scores. Where they do not differ, the order is unknown and the caller sorts whole
// keys instead: equal scores come to that, a NaN (its distance counts as 0, like the best one's),
// infinities and lists without a range (scale 0 makes all equal), and one list of random scores in
// ten thousand.
#pragma once

#include "kernels/product_key/candidate.cuh"

namespace memengine::cuda::product_key {

using ShortKey = std::uint32_t;  // the larger the better; 0: none

inline constexpr int tag_bits = 7;
inline constexpr ShortKey longest_distance = (1U << (32 - tag_bits)) - 1;

__device__ __forceinline__ bool has_scale(float range) {
  return range > 1e-30F && range < 1e30F;
}
// Below longest_distance by more than the rounding of quotient and product.
__device__ __forceinline__ float short_scale(float range) {
  return has_scale(range) ? __fdividef(static_cast<float>(longest_distance - 63), range) : 0.0F;
}
__device__ __forceinline__ ShortKey short_key(float top, float score, float scale, ShortKey tag) {
  ShortKey distance;
  asm("cvt.rzi.u32.f32 %0, %1;" : "=r"(distance) : "f"((top - score) * scale));  // 0 for NaN
  return (longest_distance - distance) << tag_bits | tag;
}
__device__ __forceinline__ std::uint32_t score_bits(ShortKey key) {
  return key >> tag_bits;
}
__device__ __forceinline__ ShortKey tag_of(ShortKey key) {
  return key % (1U << tag_bits);
}

__device__ __forceinline__ bool less(ShortKey a, ShortKey b) {
  return a < b;
}

}  // namespace memengine::cuda::product_key
