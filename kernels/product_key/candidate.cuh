// Scored candidates as integers that order like them: the larger key is the better candidate.
//
// A sub-key is one 64-bit Key: the score, as an integer that orders like the number, above the
// complement of its index. Of equal scores the lower index wins, with one comparison.
//
// A pair's score is a sum of two, and rounded sums tie where exact ones do not. A PairKey therefore
// holds the sum exactly, as a rounded sum and what rounding left out (Knuth's two-sum): compared
// one after the other they order like the exact sums, because rounding is monotone. Then the row.
#pragma once

#include <cmath>

#include "kernels/device_math.cuh"

namespace memengine::cuda::product_key {

using Key = unsigned long long;

struct PairKey {
  Key sum;            // rounded sum above its rounding error
  std::uint32_t row;  // complement
};

inline constexpr unsigned all_lanes = 0xffffffffU;

// NaN counts as the best score, so that it is picked and shows in the weights; both zeros are the
// same.
__device__ __forceinline__ std::uint32_t ordered(float score) {
  const std::uint32_t bits = __float_as_uint(score == score ? score + 0.0F : INFINITY);
  return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000U);
}

__device__ __forceinline__ Key make_key(float score, std::uint32_t index) {
  return static_cast<Key>(ordered(score)) << 32 | ~index;
}

__device__ __forceinline__ std::uint32_t score_bits(Key key) {
  return static_cast<std::uint32_t>(key >> 32);
}
__device__ __forceinline__ std::uint32_t score_bits(const PairKey& key) {
  return score_bits(key.sum);
}

template <typename AnyKey>
__device__ __forceinline__ float score_of(const AnyKey& key) {
  const std::uint32_t bits = score_bits(key);
  return __uint_as_float((bits & 0x80000000U) != 0 ? bits ^ 0x80000000U : ~bits);
}

__device__ __forceinline__ std::uint32_t index_of(Key key) {
  return ~static_cast<std::uint32_t>(key);
}
__device__ __forceinline__ std::uint32_t index_of(const PairKey& key) {
  return ~key.row;
}

// The pair of two half scores.
__device__ __forceinline__ PairKey make_pair(float first, float second, std::uint32_t row) {
  const float sum = first + second;
  const float second_part = sum - first;
  const float error = (first - (sum - second_part)) + (second - second_part);
  // Infinite sums are equal.
  return {static_cast<Key>(ordered(sum)) << 32 | ordered(error == error ? error : 0.0F), ~row};
}

__device__ __forceinline__ bool less(float a, float b) {
  return a < b;
}
__device__ __forceinline__ bool less(Key a, Key b) {
  return a < b;
}
// The borrow of a 96-bit subtraction.
__device__ __forceinline__ bool less(const PairKey& a, const PairKey& b) {
  std::uint32_t borrow;
  asm("{\n.reg .u32 t;\n"
      "sub.cc.u32 t, %1, %2;\n"
      "subc.cc.u32 t, %3, %4;\n"
      "subc.cc.u32 t, %5, %6;\n"
      "subc.u32 %0, 0, 0;\n}"
      : "=r"(borrow)
      : "r"(a.row), "r"(b.row), "r"(static_cast<std::uint32_t>(a.sum)),
        "r"(static_cast<std::uint32_t>(b.sum)), "r"(score_bits(a)), "r"(score_bits(b)));
  return borrow != 0;
}

__device__ __forceinline__ float larger(float a, float b) {
  return fmaxf(a, b);
}
__device__ __forceinline__ float smaller(float a, float b) {
  return fminf(a, b);
}
template <typename AnyKey>
__device__ __forceinline__ AnyKey larger(const AnyKey& a, const AnyKey& b) {
  return less(a, b) ? b : a;
}
template <typename AnyKey>
__device__ __forceinline__ AnyKey smaller(const AnyKey& a, const AnyKey& b) {
  return less(a, b) ? a : b;
}

template <typename Number>
__device__ __forceinline__ Number shuffle_xor(Number x, int lanes) {
  return __shfl_xor_sync(all_lanes, x, lanes);
}
__device__ __forceinline__ PairKey shuffle_xor(const PairKey& x, int lanes) {
  return {shuffle_xor(x.sum, lanes), shuffle_xor(x.row, lanes)};
}
template <typename Number>
__device__ __forceinline__ Number shuffle(Number x, int lane) {
  return __shfl_sync(all_lanes, x, lane);
}
__device__ __forceinline__ PairKey shuffle(const PairKey& x, int lane) {
  return {shuffle(x.sum, lane), shuffle(x.row, lane)};
}

}  // namespace memengine::cuda::product_key
