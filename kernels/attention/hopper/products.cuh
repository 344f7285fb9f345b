// The kinds of product that attention is made of, by one warpgroup, in the background; and the way
// of its 64 rows of sums to global memory.
//
// Tiles are boxes of 64 columns, as TMA copies them: heads of 128 are two, one after the other, and
// heads of 32 the first half of one, whose other columns nobody reads.
#pragma once

#include "kernels/attention/hopper/wgmma.cuh"
#include "kernels/attention/tensor_core.cuh"

namespace memengine::cuda::hopper {

constexpr int tile = 128;  // rows of keys
constexpr int box_columns = 64;
constexpr int box_count(int head_dim) {
  return (head_dim + box_columns - 1) / box_columns;
}
// Columns of a box that are the head's, and a thread's sums of 64 rows of them.
constexpr int columns_of_box(int head_dim) {
  return head_dim < box_columns ? head_dim : box_columns;
}
constexpr int sums_of_box(int head_dim) {
  return columns_of_box(head_dim) / 2;
}
constexpr int tile_bytes = tile * row_bytes;  // of a box
constexpr int group_rows = 64;                // of a warpgroup
constexpr int group_bytes = group_rows * row_bytes;

// product [64, 2 size] = 64 rows of `left` times as many rows of `right` as that is wide,
// transposed; both in shared memory, their boxes left_box and right_box bytes apart.
template <int head_dim, int size>
__device__ inline void multiply_rows(float (&product)[size], const unsigned char* left,
                                     int left_box, const unsigned char* right, int right_box) {
  static_assert(size == 32 || size == 64);
#pragma unroll
  for (int box = 0; box < box_count(head_dim); ++box) {
    const std::uint64_t a = operand(shared_address(left + box * left_box));
    const std::uint64_t b = operand(shared_address(right + box * right_box));
#pragma unroll
    for (int k = 0; k < columns_of_box(head_dim) / 16; ++k) {
      const std::uint64_t step = k * (step_bytes_rows_by_k / 16);
      if constexpr (size == 64)
        wgmma_64x128(product, a + step, b + step, box + k > 0);
      else
        wgmma_64x64_rows_by_k(product, a + step, b + step, box + k > 0);
    }
  }
}

// sums [64, 2 columns boxes] += left [64, k] (BF16 in registers, two of k per register and row)
// times k rows of `right`.
template <int boxes, int columns, int size>
__device__ inline void accumulate(float (&sums)[boxes][columns], const std::uint32_t (&left)[size],
                                  const unsigned char* right, int right_box) {
#pragma unroll
  for (int box = 0; box < boxes; ++box) {
    const std::uint64_t b = operand(shared_address(right + box * right_box));
#pragma unroll
    for (int k = 0; k < size / 4; ++k)
      wgmma_64xn(sums[box], left + 4 * k, b + k * (step_bytes_k_by_columns / 16));
  }
}

// The group's 64 rows, those before `rows_left`, times factor(half): half 0 is row l/4 of a warp's
// 16, half 1 row l/4 + 8.
template <int boxes, int columns, typename Factor>
__device__ inline void store_rows(bfloat16* rows, int stride, int rows_left,
                                  const float (&sums)[boxes][columns], const Factor& factor) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + lane / 4 + half * 8;
    if (row >= rows_left) continue;
    const float f = factor(half);
    bfloat16* target = rows + std::int64_t{row} * stride + lane % 4 * 2;
#pragma unroll
    for (int box = 0; box < boxes; ++box)
#pragma unroll
      for (int i = 0; i < columns; i += 4)
        *reinterpret_cast<std::uint32_t*>(target + box * box_columns + i * 2) =
            pack_bf16(sums[box][i + 2 * half] * f, sums[box][i + 2 * half + 1] * f);
  }
}

}  // namespace memengine::cuda::hopper
