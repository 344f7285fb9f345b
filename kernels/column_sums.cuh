// Sums over the rows of a [rows, columns] matrix, column by column: bias gradients, batch
// statistics. Rows are cut into slabs, and block (tile, slab) of 8 warps leaves one partial sum a
// column: a warp takes every eighth row of the slab and 32 * width columns, then the warps add up
// in shared memory in ascending order. Who called adds up the slabs.
#pragma once

#include "kernels/device_math.cuh"

namespace memengine::cuda {

inline constexpr int slab_warps = 8;

inline std::int64_t slab_count(std::int64_t rows) {
  constexpr std::int64_t rows_per_slab = 64;
  return std::clamp<std::int64_t>(ceil_divide(rows, rows_per_slab), 1, max_partials);
}

// The first row of a slab, rows * slab / slabs; of slab `slabs`: the end. Of the two divisions of
// 64 bits, which take a hundred instructions each, a loop over slabs does none.
__device__ __forceinline__ std::int64_t slab_first(std::int64_t rows, std::int64_t slab,
                                                   std::int64_t slabs) {
  static_assert(max_partials * max_partials <= 0x7fffffff);
  const std::int64_t rest = rows % slabs * slab;
  return rows / slabs * slab + static_cast<std::uint32_t>(rest) / static_cast<std::uint32_t>(slabs);
}

inline dim3 slab_grid(std::int64_t rows, std::int64_t columns, int width) {
  return dim3(grid_size(ceil_divide(columns, std::int64_t{warp_size} * width)),
              static_cast<unsigned>(slab_count(rows)));
}

inline dim3 slab_block() {
  return dim3(warp_size, slab_warps);
}

// The first of this thread's columns, in a kernel launched with slab_grid and slab_block.
template <int width>
__device__ __forceinline__ std::int64_t slab_column() {
  return (std::int64_t{blockIdx.x} * warp_size + threadIdx.x) * width;
}

// partials [slabs, sums, columns] = what term(row, sum) added to `sum` [sums][width] over the rows
// of the block's slab.
template <int sums, int width, typename Term>
__device__ __forceinline__ void sum_slab(float* partials, std::int64_t rows, std::int64_t columns,
                                         Term term) {
  __shared__ float of_warp[slab_warps][sums * width][warp_size];
  const int lane = static_cast<int>(threadIdx.x);
  const int warp = static_cast<int>(threadIdx.y);
  const std::int64_t column = slab_column<width>();
  float sum[sums][width] = {};
  if (column < columns) {
    const std::int64_t last = slab_first(rows, blockIdx.y + 1, gridDim.y);
#pragma unroll 4
    for (std::int64_t row = slab_first(rows, blockIdx.y, gridDim.y) + warp; row < last;
         row += slab_warps) {
      term(row, sum);
    }
  }
#pragma unroll
  for (int s = 0; s < sums; ++s) {
#pragma unroll
    for (int i = 0; i < width; ++i) of_warp[warp][s * width + i][lane] = sum[s][i];
  }
  __syncthreads();
  if (warp >= sums || column >= columns) return;
  float total[width] = {};
#pragma unroll
  for (int i = 0; i < width; ++i) {
#pragma unroll
    for (int w = 0; w < slab_warps; ++w) total[i] += of_warp[w][warp * width + i][lane];
  }
  store(partials + (std::int64_t{blockIdx.y} * sums + warp) * columns + column, total);
}

}  // namespace memengine::cuda
