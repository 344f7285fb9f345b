// Sums over whole tensors: each block leaves the sum of its share, one block adds those up. Shares
// depend on the size only, so the result is the same at every run. Four neighbours are added in
// FP32, everything above that in double precision, which costs nothing beside the memory reads.
//
// Also here: the second stage of every op that sums over the rows of a batch (device_math.cuh).
#include "kernels/reduce.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int sum_threads = 512;
constexpr std::int64_t max_blocks = 528;  // four for each of 132 multiprocessors

std::int64_t block_count(std::int64_t elements) {
  return std::clamp<std::int64_t>(ceil_divide(elements, sum_threads * 8), 1, max_blocks);
}

template <bool squared, typename T>
__device__ double term(T x) {
  return squared ? static_cast<double>(x) * x : static_cast<double>(x);
}

template <bool squared>
__device__ double term(float4 x) {
  if constexpr (squared) return (x.x * x.x + x.y * x.y) + (x.z * x.z + x.w * x.w);
  return (x.x + x.y) + (x.z + x.w);
}

// partials[block] = sum over the block's share of the first `count[0] * row_length` elements (all
// `size` of them when there is no count). V: what a thread reads at once.
template <bool squared, typename V>
__global__ void __launch_bounds__(sum_threads)
    partial_sums_kernel(double* partials, const V* x, std::int64_t size, const std::int32_t* count,
                        std::int64_t row_length) {
  if (count != nullptr) size = min(size, *count * row_length);
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * sum_threads;
  std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * sum_threads + threadIdx.x;
  double total = 0;
  for (; i + 3 * stride < size; i += 4 * stride) {
    const V a = x[i];
    const V b = x[i + stride];
    const V c = x[i + 2 * stride];
    const V d = x[i + 3 * stride];
    total += (term<squared>(a) + term<squared>(b)) + (term<squared>(c) + term<squared>(d));
  }
  for (; i < size; i += stride) total += term<squared>(x[i]);
  total = team_sum<sum_threads>(total);
  if (threadIdx.x == 0) partials[blockIdx.x] = total;
}

__global__ void __launch_bounds__(sum_threads)
    total_kernel(double* out, const double* partials, int count, double scale) {
  double total = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += sum_threads) total += partials[i];
  total = team_sum<sum_threads>(total);
  if (threadIdx.x == 0) *out = total * scale;
}

// The first `count` rows of x, or all of x when `count` is empty.
template <bool squared>
void reduce(const Context& context, const char* op, Tensor out, Tensor x, double scale,
            Tensor count) {
  const std::int64_t size = x.size();
  const std::int64_t blocks = block_count(size);
  auto* partials = Scratch(context).take<double>(blocks);
  const std::int32_t* rows = count.empty() ? nullptr : count.as<std::int32_t>();
  const std::int64_t row_length = count.empty() || x.dim(0) == 0 ? 0 : size / x.dim(0);
  const auto launch = [&](const auto* elements, std::int64_t width) {
    partial_sums_kernel<squared><<<grid_size(blocks), sum_threads, 0, context.stream>>>(
        partials, elements, size / width, rows, row_length / width);
    MEMENGINE_LAUNCH_CHECK(op);
  };
  if (x.dtype() == DType::f64)
    launch(x.as<double>(), 1);
  else if (in_vectors<float>(size, {x.data()}) && row_length % 4 == 0)
    launch(reinterpret_cast<const float4*>(x.as<float>()), 4);
  else
    launch(x.as<float>(), 1);
  total_kernel<<<1, sum_threads, 0, context.stream>>>(out.as<double>(), partials,
                                                      static_cast<int>(blocks), scale);
  MEMENGINE_LAUNCH_CHECK(op);
}

constexpr int partial_groups = 16;

// total[column] += sum of partials[., column]; block (32 columns, 16 groups of partial rows).
__global__ void __launch_bounds__(warp_size* partial_groups)
    add_partial_rows_kernel(float* total, const float* partials, int count, std::int64_t columns) {
  __shared__ float of_group[partial_groups][warp_size];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * warp_size + threadIdx.x;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.y); i < count; i += partial_groups) {
      sum += partials[i * columns + column];
    }
  }
  of_group[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  sum = 0;
#pragma unroll
  for (int group = 0; group < partial_groups; ++group) sum += of_group[group][threadIdx.x];
  total[column] += sum;
}

}  // namespace

void add_partial_rows(const Context& context, float* total, const float* partials,
                      std::int64_t count, std::int64_t columns) {
  add_partial_rows_kernel<<<grid_size(ceil_divide(columns, warp_size)),
                            dim3(warp_size, partial_groups), 0, context.stream>>>(
      total, partials, static_cast<int>(count), columns);
  MEMENGINE_LAUNCH_CHECK("add_partial_rows");
}

void sum(const Context& context, Tensor out, Tensor x, double scale) {
  reduce<false>(context, "sum", out, x, scale, {});
}

void square_sum(const Context& context, Tensor out, Tensor x) {
  reduce<true>(context, "square_sum", out, x, 1.0, {});
}

void square_sum_rows(const Context& context, Tensor out, Tensor x, Tensor count) {
  reduce<true>(context, "square_sum_rows", out, x, 1.0, count);
}

std::int64_t reduce_scratch_bytes(std::int64_t elements) {
  return scratch_part<double>(block_count(elements));
}

}  // namespace memengine::cuda
