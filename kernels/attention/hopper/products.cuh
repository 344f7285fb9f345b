// The two kinds of product that attention is made of, by one warpgroup, in the background; and the
// way of its 64 rows of sums to global memory.
#pragma once

#include "kernels/attention/hopper/wgmma.cuh"
#include "kernels/attention/tensor_core.cuh"

namespace memengine::cuda::hopper {

constexpr int tile = 128;  // rows of keys, or of queries
constexpr int tile_bytes = tile * row_bytes;
constexpr int group_rows = 64;  // of a warpgroup
constexpr int group_bytes = group_rows * row_bytes;

// product [64, 128] = 64 rows of `left` times 128 rows of `right` transposed; both in shared
// memory.
__device__ inline void multiply_rows(float (&product)[64], const unsigned char* left,
                                     const unsigned char* right) {
  const std::uint64_t a = operand(shared_address(left)), b = operand(shared_address(right));
#pragma unroll
  for (int k = 0; k < row_bytes / step_bytes_rows_by_k; ++k)
    wgmma_64x128(product, a + k * (step_bytes_rows_by_k / 16), b + k * (step_bytes_rows_by_k / 16),
                 k > 0);
}

// sums [64, 64] += left [64, 128] (BF16 in registers) times 128 rows of `right`.
__device__ inline void accumulate(float (&sums)[32], const std::uint32_t (&left)[32],
                                  const unsigned char* right) {
  const std::uint64_t b = operand(shared_address(right));
#pragma unroll
  for (int k = 0; k < tile / 16; ++k)
    wgmma_64x64(sums, left + 4 * k, b + k * (step_bytes_k_by_columns / 16));
}

// The group's 64 rows, those before `rows_left`, times factor(half): half 0 is row l/4 of a warp's
// 16, half 1 row l/4 + 8.
template <typename Factor>
__device__ inline void store_rows(bfloat16* rows, int stride, int rows_left,
                                  const float (&sums)[32], const Factor& factor) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + lane / 4 + half * 8;
    if (row >= rows_left) continue;
    const float f = factor(half);
    bfloat16* target = rows + std::int64_t{row} * stride + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 32; i += 4)
      *reinterpret_cast<std::uint32_t*>(target + i * 2) =
          pack_bf16(sums[i + 2 * half] * f, sums[i + 2 * half + 1] * f);
  }
}

}  // namespace memengine::cuda::hopper
