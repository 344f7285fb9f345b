// Sums over ranks. Bound by memory, and done beside the backward pass: the sooner the blocks are
// through, the less the products beside them wait for multiprocessors.
#include <algorithm>

#include "kernels/device_math.cuh"
#include "kernels/dispatch.h"
#include "kernels/pointwise/rank_sum.h"

namespace memengine::cuda {
namespace {

constexpr int rank_sum_threads = 256;
constexpr int rank_sum_pieces = 4;  // that a thread loads at once

// Two addends give the same bits in float as in double, rounded once.
template <int width>
__global__ void __launch_bounds__(rank_sum_threads)
    rank_pair_kernel(float* values, const float* other, std::int64_t size) {
  const std::int64_t step = std::int64_t{gridDim.x} * rank_sum_threads * width;
  std::int64_t i = (std::int64_t{blockIdx.x} * rank_sum_threads + threadIdx.x) * width;
  for (; i < size; i += rank_sum_pieces * step) {
    float a[rank_sum_pieces][width];
    float b[rank_sum_pieces][width];
#pragma unroll
    for (int p = 0; p < rank_sum_pieces; ++p) {
      if (i + p * step < size) {
        load(values + i + p * step, a[p]);
        load(other + i + p * step, b[p]);
      }
    }
#pragma unroll
    for (int p = 0; p < rank_sum_pieces; ++p) {
      if (i + p * step < size) {
#pragma unroll
        for (int j = 0; j < width; ++j) a[p][j] += b[p][j];
        store(values + i + p * step, a[p]);
      }
    }
  }
}

template <int width>
__global__ void __launch_bounds__(rank_sum_threads)
    rank_several_kernel(float* values, const float* others, std::int64_t stride, int ranks,
                        int rank, std::int64_t size) {
  const std::int64_t step = std::int64_t{gridDim.x} * rank_sum_threads * width;
  std::int64_t i = (std::int64_t{blockIdx.x} * rank_sum_threads + threadIdx.x) * width;
  for (; i < size; i += step) {
    double sum[width] = {};
    for (int r = 0; r < ranks; ++r) {
      const float* row = r == rank ? values : others + (r < rank ? r : r - 1) * stride;
      float x[width];
      load(row + i, x);
#pragma unroll
      for (int j = 0; j < width; ++j) sum[j] += x[j];
    }
    float rounded[width];
#pragma unroll
    for (int j = 0; j < width; ++j) rounded[j] = static_cast<float>(sum[j]);
    store(values + i, rounded);
  }
}

// Four blocks for each of an H100's multiprocessors. With fewer a bucket's sum takes so long beside
// products that the last buckets are late: 16 blocks 53 ms for all of a step, 132 blocks 30, these
// 18 to 24 (dense_373m on two GPUs).
constexpr std::int64_t rank_sum_blocks = 528;

}  // namespace

void add_in_rank_order(const Context& context, Tensor values, Tensor others, int rank) {
  const std::int64_t size = values.size();
  if (size == 0) return;
  if (values.dtype() != DType::f32) {
    fail_internal("ranks add up f32 on a GPU, not {}", dtype_name(values.dtype()));
  }
  const auto ranks = static_cast<int>(others.dim(0)) + 1;
  const std::int64_t stride = others.dim(1);
  const auto launch = [&]<int width>() {
    const std::int64_t needed = ceil_divide(size, std::int64_t{rank_sum_threads} * width);
    const unsigned blocks = grid_size(std::min(needed, rank_sum_blocks));
    if (ranks == 2) {
      rank_pair_kernel<width><<<blocks, rank_sum_threads, 0, context.stream>>>(
          values.as<float>(), others.as<float>(), size);
    } else {
      rank_several_kernel<width><<<blocks, rank_sum_threads, 0, context.stream>>>(
          values.as<float>(), others.as<float>(), stride, ranks, rank, size);
    }
  };
  const auto* second_row = others.as<float>() + stride;
  if (in_vectors<float>(size, {values.data(), others.data(), second_row}))
    launch.template operator()<4>();
  else
    launch.template operator()<1>();
  MEMENGINE_LAUNCH_CHECK("add_in_rank_order");
}

}  // namespace memengine::cuda
