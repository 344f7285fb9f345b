// Statistics on a GPU: each block leaves the part of its share, one block merges those. Shares
// depend on the size only and every merge has its place in a tree, so that the result is the same
// at every run. Nothing here is tuned: a probe looks once in many steps.
#include "kernels/statistics/statistics.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int statistics_threads = 256;
constexpr std::int64_t most_statistics_blocks = 528;  // four for each of 132 multiprocessors

std::int64_t statistics_blocks(std::int64_t elements) {
  return std::clamp<std::int64_t>(ceil_divide(elements, statistics_threads * 8), 1,
                                  most_statistics_blocks);
}

struct Part {
  double sum, squares, largest, zeros;

  __device__ void add(double value) {
    merge({value, value * value, fabs(value), value == 0 ? 1.0 : 0.0});
  }
  __device__ void merge(const Part& other) {
    sum += other.sum;
    squares += other.squares;
    // A NaN comes in and stays.
    if (largest == largest && !(other.largest <= largest)) largest = other.largest;
    zeros += other.zeros;
  }
};

// The block's part, in thread 0.
__device__ Part merge_block(const Part& mine) {
  __shared__ Part of_thread[statistics_threads];
  of_thread[threadIdx.x] = mine;
  for (unsigned half = statistics_threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x].merge(of_thread[threadIdx.x + half]);
  }
  return of_thread[0];
}

template <typename T>
__device__ double as_double(T x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return to_float(x);
}

// What is looked at: the elements themselves, or the entropy of each row of `columns`.
template <typename T, bool entropies>
__device__ double value_at(const T* x, std::int64_t i, std::int64_t columns) {
  if constexpr (!entropies) {
    return as_double(x[i]);
  } else {
    double entropy = 0;
    for (std::int64_t j = i * columns; j < (i + 1) * columns; ++j) {
      const double value = as_double(x[j]);
      if (value != 0) entropy -= value * log(value);
    }
    return entropy;
  }
}

template <typename T, bool entropies>
__global__ void __launch_bounds__(statistics_threads)
    parts_kernel(Part* parts, const T* x, std::int64_t count, std::int64_t columns) {
  Part part{};
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * statistics_threads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * statistics_threads + threadIdx.x;
       i < count; i += stride) {
    part.add(value_at<T, entropies>(x, i, columns));
  }
  part = merge_block(part);
  if (threadIdx.x == 0) parts[blockIdx.x] = part;
}

__global__ void __launch_bounds__(statistics_threads)
    merge_kernel(double* out, const Part* parts, int count) {
  Part part{};
  for (int i = static_cast<int>(threadIdx.x); i < count; i += statistics_threads)
    part.merge(parts[i]);
  part = merge_block(part);
  if (threadIdx.x != 0) return;
  out[0] = part.sum;
  out[1] = part.squares;
  out[2] = part.largest;
  out[3] = part.zeros;
}

template <bool entropies>
void reduce(const Context& context, const char* op, Tensor out, Tensor x, std::int64_t count) {
  const std::int64_t blocks = statistics_blocks(count);
  auto* parts = Scratch(context).take<Part>(blocks);
  const std::int64_t columns = count > 0 ? x.size() / count : 0;
  dispatch_storage(op, x.dtype(), [&]<typename T>() {
    parts_kernel<T, entropies><<<grid_size(blocks), statistics_threads, 0, context.stream>>>(
        parts, x.as<T>(), count, columns);
  });
  MEMENGINE_LAUNCH_CHECK(op);
  merge_kernel<<<1, statistics_threads, 0, context.stream>>>(out.as<double>(), parts,
                                                             static_cast<int>(blocks));
  MEMENGINE_LAUNCH_CHECK(op);
}

}  // namespace

void statistics(const Context& context, Tensor out, Tensor x) {
  reduce<false>(context, "statistics", out, x, x.size());
}

void entropy_statistics(const Context& context, Tensor out, Tensor p) {
  reduce<true>(context, "entropy_statistics", out, p, p.dim(0));
}

std::int64_t statistics_scratch_bytes(std::int64_t elements) {
  return scratch_part<Part>(statistics_blocks(elements));
}

}  // namespace memengine::cuda
