// Products of a few rows with a weight matrix on the CPU, out = x W^T + b: what decoding does.
//
// Such a product is done when the weights have been read, so they are read once, in order, from
// where they lie: a general product packs them first, which moves them two times more. A tile is a
// few rows by four outputs, whose sums stay in registers; the weights of the next four outputs are
// prefetched meanwhile, in the order in which they lie: the four lines that a step of the loop uses
// are a row apart, and asked for in that order memory gives half its rate. Further rows find a
// tile's weights in the cache. A sum runs over the
// inputs lane by lane, then over the lanes: the same additions whatever the number of rows and of
// threads, so a text's numbers do not depend on the texts beside it.
#pragma once

#include <cstddef>
#include <type_traits>

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {

// Above so many rows the general product is faster.
inline constexpr std::int64_t cpu_few_rows = 12;

namespace few_rows {

inline constexpr int tile_rows = many_vector_registers ? 4 : 2;
inline constexpr int tile_outputs = 4;

// Sums of the lanes: the upper half is added to the lower until four lanes are left (SSE has two
// doubles), and these as (0 + 2) + (1 + 3).
template <typename V>
inline auto four_lanes(const V& v) {
  using T = std::remove_cvref_t<decltype(v[0])>;
  constexpr std::size_t lanes = sizeof(V) / sizeof(T);
  if constexpr (lanes == 16) {
    return four_lanes(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                      __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
  } else if constexpr (lanes == 8) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
  } else {
    return v;
  }
}

template <typename V>
inline auto sum_of_lanes(const V& vector) {
  const auto v = four_lanes(vector);
  if constexpr (sizeof v == 2 * sizeof v[0]) {
    return v[0] + v[1];
  } else {
    return (v[0] + v[2]) + (v[1] + v[3]);
  }
}

// The same of four vectors at once.
template <typename T, typename V>
inline void sums_of_lanes(T* sums, const V* vectors) {
  const auto a = four_lanes(vectors[0]), b = four_lanes(vectors[1]);
  const auto c = four_lanes(vectors[2]), d = four_lanes(vectors[3]);
  if constexpr (sizeof a == 2 * sizeof(T)) {
    for (int o = 0; o < 4; ++o) sums[o] = sum_of_lanes(vectors[o]);
  } else {
    const auto ab = __builtin_shufflevector(a, b, 0, 4, 1, 5) +  // a0 + a2, b0 + b2, a1 + a3, ...
                    __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const auto cd =
        __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
    const auto sum =
        __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
    std::memcpy(sums, &sum, sizeof sum);
  }
}

// out[r][o] = <x row r, weight row o> + bias[o] for `rows` rows and `outputs` outputs.
template <int rows, int outputs, typename T, typename B>
inline void tile(T* out, std::int64_t out_stride, const T* x, const T* weight, const B* bias,
                 std::int64_t inputs) {
  using V = typename Vector<T>::Type;
  constexpr int lanes = Vector<T>::lanes;
  V sums[rows][outputs] = {};
  const auto add = [&](std::int64_t i, std::int64_t count) {
    V w[outputs];
    for (int o = 0; o < outputs; ++o) load<T>(w[o], weight + o * inputs + i, count);
    for (int r = 0; r < rows; ++r) {
      V a;
      load<T>(a, x + r * inputs + i, count);
      for (int o = 0; o < outputs; ++o) sums[r][o] += a * w[o];
    }
  };
  const auto* next = reinterpret_cast<const std::byte*>(weight + outputs * inputs);
  std::int64_t i = 0;
  for (; i + lanes <= inputs; i += lanes, next += outputs * vector_bytes) {
    for (int line = 0; line < outputs * vector_bytes; line += 64) __builtin_prefetch(next + line);
    add(i, lanes);
  }
  if (i < inputs) add(i, inputs - i);
  for (int r = 0; r < rows; ++r) {
    T* result = out + r * out_stride;
    if constexpr (outputs == 4) {
      sums_of_lanes(result, sums[r]);
    } else {
      for (int o = 0; o < outputs; ++o) result[o] = sum_of_lanes(sums[r][o]);
    }
    if (bias == nullptr) continue;
    for (int o = 0; o < outputs; ++o) result[o] += static_cast<T>(bias[o]);
  }
}

template <int outputs, typename T, typename B>
void all_rows(T* out, std::int64_t out_stride, const T* x, const T* weight, const B* bias,
              std::int64_t rows, std::int64_t inputs) {
  std::int64_t r = 0;
  const auto next = [&]<int count>() {
    for (; r + count <= rows; r += count) {
      tile<count, outputs>(out + r * out_stride, out_stride, x + r * inputs, weight, bias, inputs);
    }
  };
  if constexpr (tile_rows == 4) next.template operator()<4>();
  next.template operator()<2>();
  next.template operator()<1>();
}

}  // namespace few_rows

// out [rows, outputs] = x [rows, inputs] weight [outputs, inputs]^T + bias; `bias` may be null.
template <typename T, typename B>
void few_rows_product(T* out, const T* x, const T* weight, const B* bias, std::int64_t rows,
                      std::int64_t inputs, std::int64_t outputs) {
#pragma omp parallel if (inputs * outputs > worth_sharing)
  {
    const ThreadShare part = thread_share(outputs, 16);
    std::int64_t o = part.first;
    const auto next = [&]<int count>() {
      for (; o + count <= part.last; o += count) {
        few_rows::all_rows<count>(out + o, outputs, x, weight + o * inputs,
                                  bias == nullptr ? nullptr : bias + o, rows, inputs);
      }
    };
    next.template operator()<few_rows::tile_outputs>();
    next.template operator()<1>();
  }
}

}  // namespace memengine
