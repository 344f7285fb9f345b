// Selection of the best of many scores on the CPU, several lists side by side in vector registers.
//
// A scored candidate is one positive double whose bits are, from the top: a fixed exponent, 32 bits
// of the score as an integer that orders like the number, 16 bits of payload. Doubles of one
// exponent order like their bits, so a vector maximum and a minimum put eight pairs of candidates
// in order, and a sorting network, which asks nothing about its data, sorts that many lists at
// once. 0.0 stands for no candidate. The payload is the complement of an index: of equal scores the
// lower index is the better.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/cpu/vector.h"

namespace memengine::lanes {

// Lists side by side: as many as a vector register has doubles.
inline constexpr int count = Vector<double>::lanes;
inline constexpr int list_size = 32;  // candidates of a sorted list
inline constexpr std::uint32_t most_index = 0xffff;

using Keys = Vector<double>::Type;

// NaN counts as the best score; both zeros are the same.
inline std::uint32_t ordered(float score) {
  const float comparable = score == score ? score + 0.0F : std::numeric_limits<float>::infinity();
  const auto bits = std::bit_cast<std::uint32_t>(comparable);
  return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000U);
}

inline double key(float score, std::uint32_t index) {
  const std::uint64_t fixed_exponent = std::uint64_t{0x433} << 52;
  return std::bit_cast<double>(fixed_exponent | static_cast<std::uint64_t>(ordered(score)) << 16 |
                               (most_index - index));
}

// key() of a score in every lane, written in vectors: left to the compiler it took three times as
// long.
inline Keys keys(const float* scores, std::uint32_t index) {
  typedef float Scores __attribute__((vector_size(count * sizeof(float))));
  typedef std::uint32_t Bits __attribute__((vector_size(count * sizeof(float))));
  typedef std::int32_t SignedBits __attribute__((vector_size(count * sizeof(float))));
  using Wide = Vector<std::uint64_t>::Type;
  Scores score;
  std::memcpy(&score, scores, sizeof score);
  const Scores comparable =
      score == score ? score + 0.0F : Scores{} + std::numeric_limits<float>::infinity();
  const auto bits = reinterpret_cast<Bits>(comparable);
  const auto sign = reinterpret_cast<Bits>(reinterpret_cast<SignedBits>(bits) >> 31);
  const Wide ordered = __builtin_convertvector(bits ^ (sign | 0x80000000U), Wide);
  return reinterpret_cast<Keys>(ordered << 16 |
                                (std::uint64_t{0x433} << 52 | (most_index - index)));
}

inline std::uint32_t score_bits(double key) {
  return static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(key) >> 16);
}
inline float score(double key) {
  const std::uint32_t bits = score_bits(key);
  return std::bit_cast<float>((bits & 0x80000000U) != 0 ? bits ^ 0x80000000U : ~bits);
}
inline std::uint32_t index(double key) {
  return most_index - (std::bit_cast<std::uint64_t>(key) & most_index);
}

// With AVX-512 the worse one is a second selection. Elsewhere that would be three instructions, and
// what is left of both bits without the better one's is one or two.
inline void order(Keys& better, Keys& worse) {
  using Bits = Vector<std::int64_t>::Type;
  const Keys largest = better > worse ? better : worse;
  if constexpr (vector_bytes == 64) {
    worse = worse < better ? worse : better;
  } else {
    const Bits rest = reinterpret_cast<Bits>(better) ^ reinterpret_cast<Bits>(worse) ^
                      reinterpret_cast<Bits>(largest);
    worse = reinterpret_cast<Keys>(rest);
  }
  better = largest;
}

struct Exchange {
  int better, worse;
};

// Batcher's odd-even merge sort: 191 exchanges sort a list, the best first.
constexpr auto sorting_network() {
  std::array<Exchange, 191> network{};
  std::size_t next = 0;
  for (int p = 1; p < list_size; p *= 2) {
    for (int k = p; k >= 1; k /= 2) {
      for (int j = k % p; j + k < list_size; j += 2 * k) {
        for (int i = j; i < std::min(j + k, list_size - k); ++i) {
          if (i / (2 * p) == (i + k) / (2 * p)) network[next++] = {i, i + k};
        }
      }
    }
  }
  return network;
}

// 80 exchanges sort a bitonic list.
constexpr auto bitonic_network() {
  std::array<Exchange, 80> network{};
  std::size_t next = 0;
  for (int stride = list_size / 2; stride > 0; stride /= 2) {
    for (int i = 0; i < list_size; ++i) {
      if ((i & stride) == 0) network[next++] = {i, i + stride};
    }
  }
  return network;
}

// Every exchange is written out, so that the list stays in registers.
template <const auto& network>
inline void run_network(Keys (&x)[list_size]) {
  [&]<std::size_t... i>(std::index_sequence<i...>) {
    (order(x[network[i].better], x[network[i].worse]), ...);
  }
  (std::make_index_sequence<network.size()>());
}

inline constexpr auto sorting_exchanges = sorting_network();
inline constexpr auto bitonic_exchanges = bitonic_network();

inline void sort(Keys (&x)[list_size]) {
  run_network<sorting_exchanges>(x);
}
inline void sort_bitonic(Keys (&x)[list_size]) {
  run_network<bitonic_exchanges>(x);
}

// x = the better half of two sorted lists, sorted. left_out = the best of what was ever left out.
inline void keep_better(Keys (&x)[list_size], const Keys (&y)[list_size], Keys& left_out) {
#pragma GCC unroll 32
  for (int i = 0; i < list_size; ++i) {
    Keys other = y[list_size - 1 - i];
    order(x[i], other);
    left_out = left_out > other ? left_out : other;
  }
  sort_bitonic(x);
}

// best = the sorted best of `blocks` lists of candidates [blocks, list_size].
inline void best_of(Keys (&best)[list_size], const Keys* candidates, std::int64_t blocks) {
  Keys left_out{};
  for (std::int64_t block = 0; block < blocks; ++block) {
    Keys next[list_size];
    for (int i = 0; i < list_size; ++i) next[i] = candidates[block * list_size + i];
    sort(next);
    if (block == 0) {
      for (int i = 0; i < list_size; ++i) best[i] = next[i];
    } else {
      keep_better(best, next, left_out);
    }
  }
}

}  // namespace memengine::lanes
