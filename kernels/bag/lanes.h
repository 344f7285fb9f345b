// Sixteen floats, or eight doubles, that stay in registers while a loop goes over rows.
//
// GCC and Clang give vector types ordinary arithmetic on every processor: one AVX-512 register
// here, two or four smaller ones elsewhere. Plain arrays as running sums would be stored and loaded
// again at every row.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "kernels/runtime/bfloat16.h"

namespace memengine {

template <typename T, int count>
struct VectorOf {
  typedef T type __attribute__((vector_size(count * sizeof(T))));  // NOLINT: `using` drops it
};

template <typename T>
inline constexpr int lane_count = 64 / sizeof(T);
template <typename T>
using Lanes = typename VectorOf<T, lane_count<T>>::type;

template <typename T>
inline Lanes<T> load_lanes(const T* from) {
  Lanes<T> lanes;
  std::memcpy(&lanes, from, sizeof lanes);
  return lanes;
}

template <typename T>
inline void store_lanes(T* to, const Lanes<T>& lanes) {
  std::memcpy(to, &lanes, sizeof lanes);
}

// join_float() of neighbouring halves, with both or with lower halves of zero.
template <typename T, bool both>
inline Lanes<T> join_lanes(const std::uint16_t* hi, const std::uint16_t* lo) {
  constexpr int count = lane_count<T>;
  using Half = typename VectorOf<std::uint16_t, count>::type;
  using SignedHalf = typename VectorOf<std::int16_t, count>::type;
  using Word = typename VectorOf<std::uint32_t, count>::type;
  using SignedWord = typename VectorOf<std::int32_t, count>::type;
  using Single = typename VectorOf<float, count>::type;
  Half upper;
  std::memcpy(&upper, hi, sizeof upper);
  Word bits = __builtin_convertvector(upper, Word) << 16;
  if constexpr (both) {
    SignedHalf lower;
    std::memcpy(&lower, lo, sizeof lower);
    const SignedWord widened = __builtin_convertvector(lower, SignedWord);
    Word low_bits;
    std::memcpy(&low_bits, &widened, sizeof low_bits);
    bits += low_bits;
  }
  Single joined;
  std::memcpy(&joined, &bits, sizeof joined);
  return __builtin_convertvector(joined, Lanes<T>);
}

// a and b, cut in groups of `group` lanes: each group is halved by adding its halves, those of b
// after those of a.
template <int group, typename T, std::size_t... i>
inline Lanes<T> fold_lanes(const Lanes<T>& a, const Lanes<T>& b, std::index_sequence<i...>) {
  constexpr int half = group / 2;
  return __builtin_shufflevector(a, b, (static_cast<int>(i) / half * group + i % half)...) +
         __builtin_shufflevector(a, b, (static_cast<int>(i) / half * group + half + i % half)...);
}

// Lane i of the result is the sum of x[i]'s lanes: as many sums as there are lanes, by folding
// pairs again and again. Overwrites x.
template <typename T, int group = lane_count<T>>
inline Lanes<T> lane_sums(Lanes<T>* x) {
  if constexpr (group == 1) {
    return x[0];
  } else {
    for (int pair = 0; pair < group / 2; ++pair) {
      x[pair] = fold_lanes<group, T>(x[2 * pair], x[2 * pair + 1],
                                     std::make_index_sequence<lane_count<T>>());
    }
    return lane_sums<T, group / 2>(x);
  }
}

}  // namespace memengine
