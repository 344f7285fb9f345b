// Candidates of one list as 32-bit integers: how far a score stands below the list's best one, in
// 23 bits, and a tag of 7 bits that says where the candidate is. Sorting them costs a third of what
// whole keys (candidate.cuh) cost.
//
// The distance (top - score), scaled to the list's range, is taken from 2^24, which leaves a number
// between 2^23 and 2^24: its bits count in ones, above a constant that the shift for the tag pushes
// out but for the highest bit. Subtraction, multiplication and rounding are each monotone, so two
// short keys that differ above their tags order like the scores. Where they do not differ, the
// order is unknown and the caller sorts whole keys instead: equal scores come to that, infinities
// and lists without a range (scale 0 makes all equal), and one list of random scores in some
// thousands. A NaN is better than all numbers, and equal to other NaNs.
#pragma once

#include "kernels/product_key/candidate.cuh"

namespace memengine::cuda::product_key {

using ShortKey = std::uint32_t;  // the larger the better; 0: none

inline constexpr int tag_bits = 7;
inline constexpr float longest_distance = 8388608 - 64;  // a little less than 2^23, for rounding

__device__ __forceinline__ bool has_scale(float range) {
  return range > 1e-30F && range < 1e30F;
}
__device__ __forceinline__ float short_scale(float range) {
  return has_scale(range) ? __fdividef(longest_distance, range) : 0.0F;
}
// top - score is at most the range, rounding aside, and not below zero.
__device__ __forceinline__ ShortKey short_key(float top, float score, float scale, ShortKey tag) {
  const float place = __fmaf_rn(score - top, scale, 16777215.0F);
  return (__float_as_uint(place) << tag_bits) + tag;
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
