// Tiles of rows of T = bfloat16 or float: from global memory to shared memory or registers, and
// their products on tensor cores.
//
// A tile in shared memory has 16 bytes of padding after each row of D elements. That puts the eight
// rows that one ldmatrix reads into different banks whatever D is, and keeps addresses linear, so
// that unrolled loops need one base register and immediate offsets.
#pragma once

#include <bit>
#include <type_traits>

#include "kernels/attention/problem.cuh"
#include "kernels/attention/tensor_core.cuh"
#include "kernels/attention/tile_plan.h"

namespace memengine::cuda {

template <typename T>
inline constexpr int elements_per_word = 4 / static_cast<int>(sizeof(T));
template <typename T>
inline constexpr int step_elements = 32 / static_cast<int>(sizeof(T));  // the k of one product
template <typename T, int D>
inline constexpr int product_steps = D / step_elements<T>;
template <typename T, int D>
inline constexpr int row_pitch = attention_row_bytes(sizeof(T), D) / static_cast<int>(sizeof(T));

template <typename T, int D>
inline constexpr bool narrow = attention_is_narrow(sizeof(T), D);

// Blocks of 128 threads that shall share a multiprocessor; more means fewer registers per thread.
template <typename T, int D>
inline constexpr int blocks_at_once = D * sizeof(T) <= 32 ? 3 : 2;

// Instead of minus infinity: the difference of two masked scores is zero, not NaN.
// A power of two: its product with the scale is exact, so a row that has seen nothing else gets
// 2^0 from the fused multiply-add s c - r, not 2 to the power of a rounding error.
inline constexpr float masked_score = -0x1p100F;

// Calls body.template operator()<D>() with the narrowest width that has kernels.
template <typename T, typename Body>
void dispatch_head_dim(int head_dim, const Body& body) {
  if constexpr (std::is_same_v<T, float>) {
    if (head_dim <= 8) return body.template operator()<8>();
  }
  if (head_dim <= 16) return body.template operator()<16>();
  if (head_dim <= 32) return body.template operator()<32>();
  if (head_dim <= 64) return body.template operator()<64>();
  if (head_dim <= 96) return body.template operator()<96>();
  body.template operator()<128>();
}

// Calls body.template operator()<tiles>() with the largest tiles that fit into `limit` bytes of
// shared memory; `plan` is forward_tiles or backward_tiles.
template <auto plan, typename T, int D, typename Body>
void dispatch_tiles(std::int64_t limit, const Body& body) {
  constexpr AttentionTiles large = plan(sizeof(T), D, large_shared_memory);
  constexpr AttentionTiles medium = plan(sizeof(T), D, medium_shared_memory);
  constexpr AttentionTiles small = plan(sizeof(T), D, small_shared_memory);
  if (limit >= large_shared_memory) return body.template operator()<large>();
  if (limit >= medium_shared_memory) return body.template operator()<medium>();
  body.template operator()<small>();
}

// The words of an operand (four for A, two for B), ready for the tensor cores.
template <typename T, int words>
struct Operand;

template <int words>
struct Operand<bfloat16, words> {
  std::uint32_t pair[words];

  __device__ void set(int i, std::uint32_t word) { pair[i] = word; }
};

template <int words>
struct Operand<float, words> {
  std::uint32_t high[words], low[words];

  __device__ void set(int i, std::uint32_t word) {
    high[i] = word & 0xffffe000U;
    low[i] = __float_as_uint(__uint_as_float(word) - __uint_as_float(high[i]));
  }
};

__device__ inline void multiply_add(float (&c)[4], const Operand<bfloat16, 4>& a,
                                    const Operand<bfloat16, 2>& b) {
  mma_bf16(c, a.pair, b.pair);
}
__device__ inline void multiply_add(float (&c)[4], const Operand<float, 4>& a,
                                    const Operand<float, 2>& b) {
  mma_tf32(c, a.low, b.high);
  mma_tf32(c, a.high, b.low);
  mma_tf32(c, a.high, b.high);
}

// Starts copying rows first .. first + Rows - 1 of a [length, head_dim] matrix with `stride`
// elements from row to row; what lies outside is filled with zeros.
template <typename T, int D, int Rows, int Threads>
__device__ inline void load_rows_async(T* tile, const T* matrix, int stride, int first, int length,
                                       int head_dim) {
  const auto load = [&]<int width>() {
    constexpr int columns = std::bit_ceil(static_cast<unsigned>(D / width));
    constexpr int rows_at_once = Threads / columns;
    const int row = static_cast<int>(threadIdx.x) / columns;
    const int column = static_cast<int>(threadIdx.x) % columns * width;
    if (column >= D) return;
    const int rows_left = column < head_dim ? length - first - row : 0;
    const std::int64_t step = static_cast<std::int64_t>(rows_at_once) * stride;
    const T* source = matrix + static_cast<std::int64_t>(first + row) * stride + column;
    T* target = tile + row * row_pitch<T, D> + column;
#pragma unroll
    for (int i = 0; i < Rows; i += rows_at_once) {
      if constexpr (width * sizeof(T) == 16)
        copy_16_bytes_async(target + i * row_pitch<T, D>, source, i < rows_left);
      else
        copy_4_bytes_async(target + i * row_pitch<T, D>, source, i < rows_left);
      source += step;
    }
  };
  constexpr int wide = 16 / static_cast<int>(sizeof(T));
  if (head_dim % wide == 0)
    load.template operator()<wide>();
  else
    load.template operator()<elements_per_word<T>>();
}

// A operands of 16 * M rows: kept in registers (straight from global memory, done once a kernel) or
// fetched from a shared-memory tile at each use.
template <typename T, int D, int M>
struct RegisterRows {
  std::uint32_t words[M][product_steps<T, D>][4];

  __device__ explicit RegisterRows(const T*) {}  // needs no shared memory
  __device__ void load(const T* matrix, int stride, int first, int length, int head_dim) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int k = 0; k < product_steps<T, D>; ++k)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = first + m * 16 + i % 2 * 8 + lane / 4;
          const int column = (k * 8 + i / 2 * 4 + lane % 4) * elements_per_word<T>;
          const bool valid = row < length && column < head_dim;
          const T* source = matrix + static_cast<std::int64_t>(row) * stride + column;
          words[m][k][i] = valid ? *reinterpret_cast<const std::uint32_t*>(source) : 0;
        }
  }
  __device__ void fetch(int m, int k, Operand<T, 4>& a) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) a.set(i, words[m][k][i]);
  }
};

template <typename T, int D>
struct SharedRows {
  const T* lane_row;

  // `rows`: the first of the 16 * M rows in shared memory.
  __device__ explicit SharedRows(const T* rows) {
    const int lane = threadIdx.x % 32;
    lane_row = rows + lane % 16 * row_pitch<T, D> + lane / 16 * (step_elements<T> / 2);
  }
  __device__ void fetch(int m, int k, Operand<T, 4>& a) const {
    std::uint32_t words[4];
    load_matrix(words, lane_row + m * 16 * row_pitch<T, D> + k * step_elements<T>);
#pragma unroll
    for (int i = 0; i < 4; ++i) a.set(i, words[i]);
  }
};

// Masks the scores [queries first_query .., keys first_tile_key ..] of keys that a query does not
// see. `hides`: there may be hidden keys in between.
template <bool hides, int M, int N>
__device__ inline void mask_scores(float (&scores)[M][N][4], const AttentionProblem& problem, int b,
                                   int first_query, int first_tile_key) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int query = first_query + m * 16 + half * 8 + lane / 4;
      const int lowest = problem.first_key(b, query);
      const int2 hidden = hides ? problem.hidden_keys(b, query) : int2{0, 0};
#pragma unroll
      for (int n = 0; n < N; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int key = first_tile_key + n * 8 + lane % 4 * 2 + i;
          if (key > query || key < lowest || (hides && key >= hidden.x && key < hidden.y))
            scores[m][n][2 * half + i] = masked_score;
        }
    }
}

// scores [16 M, 8 N] = left [16 M, D] times right [8 N, D] transposed, `right` in shared memory.
template <typename T, int D, int M, int N, typename Left>
__device__ inline void multiply_by_rows(float (&scores)[M][N][4], const Left& left,
                                        const T* right) {
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) scores[m][n][i] = 0;
  const int lane = threadIdx.x % 32;
  const T* lane_row =
      right + (lane % 8 + lane / 16 * 8) * row_pitch<T, D> + lane / 8 % 2 * (step_elements<T> / 2);
#pragma unroll
  for (int k = 0; k < product_steps<T, D>; ++k) {
    Operand<T, 4> a[M];
#pragma unroll
    for (int m = 0; m < M; ++m) left.fetch(m, k, a[m]);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      std::uint32_t words[4];
      load_matrix(words, lane_row + n * 8 * row_pitch<T, D> + k * step_elements<T>);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        Operand<T, 2> b;
        b.set(0, words[2 * i]);
        b.set(1, words[2 * i + 1]);
#pragma unroll
        for (int m = 0; m < M; ++m) multiply_add(scores[m][n + i], a[m], b);
      }
    }
  }
}

// sums [16 M, D] += weights [16 M, 8 N] times rows [8 N, D], `rows` in shared memory. Two
// neighbouring C fragments of the weights, rounded to BF16, are one A operand.
template <typename T, int D, int M, int N>
requires std::is_same_v<T, bfloat16> __device__ inline void accumulate_rows(
    float (&sums)[M][D / 8][4], const float (&weights)[M][N][4], const T* rows) {
  const int lane = threadIdx.x % 32;
  const T* lane_row = rows + lane % 16 * row_pitch<T, D> + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < N / 2; ++k) {
    Operand<T, 4> a[M];
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float(&pair)[4] = weights[m][2 * k + i / 2];
        a[m].set(i, pack_bf16(pair[i % 2 * 2], pair[i % 2 * 2 + 1]));
      }
#pragma unroll
    for (int n = 0; n < D / 8; n += 2) {
      std::uint32_t words[4];
      load_matrix_transposed(words, lane_row + k * 16 * row_pitch<T, D> + n * 8);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const Operand<T, 2> b{{words[2 * i], words[2 * i + 1]}};
#pragma unroll
        for (int m = 0; m < M; ++m) multiply_add(sums[m][n + i], a[m], b);
      }
    }
  }
}

// The same in FP32. A lane's pair of columns (2c, 2c+1) of a C fragment serves as words c and c+4
// of an A operand: that only renames the summation index, so the B operand takes its rows in the
// same order. Tensor cores truncate when they add; so the products of one call are summed apart
// and join the long sums by an ordinary, rounded addition.
template <typename T, int D, int M, int N>
requires std::is_same_v<T, float> __device__ inline void accumulate_rows(
    float (&sums)[M][D / 8][4], const float (&weights)[M][N][4], const T* rows) {
  constexpr int columns = D / 8 < 4 ? D / 8 : 4;  // fragments summed at a time: registers
  const int lane = threadIdx.x % 32;
  const T* lane_row = rows + lane % 4 * 2 * row_pitch<T, D> + lane / 4;
#pragma unroll
  for (int first = 0; first < D / 8; first += columns) {
    float partial[M][columns][4] = {};
#pragma unroll
    for (int k = 0; k < N; ++k) {
      Operand<T, 4> a[M];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) a[m].set(i, __float_as_uint(weights[m][k][i % 2 * 2 + i / 2]));
#pragma unroll
      for (int n = 0; n < columns; ++n) {
        Operand<T, 2> b;
#pragma unroll
        for (int i = 0; i < 2; ++i)
          b.set(i, __float_as_uint(lane_row[(k * 8 + i) * row_pitch<T, D> + (first + n) * 8]));
#pragma unroll
        for (int m = 0; m < M; ++m) multiply_add(partial[m][n], a[m], b);
      }
    }
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < columns; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][first + n][i] += partial[m][n][i];
  }
}

// Writes 16 M rows, multiplied by factor(m, half), to global memory.
template <typename T, int D, int M, typename Factor>
__device__ inline void store_rows(T* matrix, int stride, int first, int length, int head_dim,
                                  const float (&sums)[M][D / 8][4], const Factor& factor) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first + m * 16 + half * 8 + lane / 4;
      if (row >= length) continue;
      const float f = factor(m, half);
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        const int column = n * 8 + lane % 4 * 2;
        if (column >= head_dim) continue;
        T* target = matrix + static_cast<std::int64_t>(row) * stride + column;
        const float left = sums[m][n][2 * half] * f, right = sums[m][n][2 * half + 1] * f;
        if constexpr (std::is_same_v<T, bfloat16>)
          *reinterpret_cast<std::uint32_t*>(target) = pack_bf16(left, right);
        else
          *reinterpret_cast<float2*>(target) = make_float2(left, right);
      }
    }
}

}  // namespace memengine::cuda
