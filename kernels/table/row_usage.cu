// Usage figures on the GPU. The divergence is one number from up to millions of rows: 32 blocks
// leave a partial sum each, and one warp adds these up in order, so the figure is the same every
// time.
#include "kernels/device_math.cuh"
#include "kernels/table/row_usage.h"

namespace memengine::cuda {
namespace {

constexpr int divergence_blocks = warp_size;
constexpr int usage_threads = 1024;
static_assert(divergence_blocks * sizeof(double) == usage_divergence_scratch_bytes);

__global__ void __launch_bounds__(usage_threads)
    divergence_kernel(double* partials, const std::int32_t* offsets,
                      const std::int32_t* count_pointer, double picks, double table_rows) {
  const int count = *count_pointer;
  double sum = 0;
  for (int u = static_cast<int>(blockIdx.x) * usage_threads + static_cast<int>(threadIdx.x);
       u < count; u += divergence_blocks * usage_threads) {
    const double share = (offsets[u + 1] - offsets[u]) / picks;
    sum += share * log(share * table_rows);
  }
  sum = team_sum<usage_threads>(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(divergence_blocks)
    add_divergence_kernel(double* kl, const double* partials) {
  const double total = team_sum<divergence_blocks>(partials[threadIdx.x]);
  if (threadIdx.x == 0) *kl = total;
}

__global__ void __launch_bounds__(256)
    count_kernel(std::int32_t* histogram, const std::int32_t* rows, const std::int32_t* offsets,
                 const std::int32_t* count_pointer) {
  const int count = *count_pointer;
  for (int u = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); u < count;
       u += static_cast<int>(gridDim.x * blockDim.x)) {
    histogram[rows[u]] += offsets[u + 1] - offsets[u];
  }
}

}  // namespace

void usage_divergence(const Context& context, Tensor kl, const UniqueRows& unique,
                      std::int64_t table_rows) {
  auto* partials = Scratch(context).take<double>(divergence_blocks);
  divergence_kernel<<<divergence_blocks, usage_threads, 0, context.stream>>>(
      partials, unique.offsets.as<std::int32_t>(), unique.count.as<std::int32_t>(),
      static_cast<double>(unique.order.size()), static_cast<double>(table_rows));
  add_divergence_kernel<<<1, divergence_blocks, 0, context.stream>>>(kl.as<double>(), partials);
  MEMENGINE_LAUNCH_CHECK("usage_divergence");
}

void count_usage(const Context& context, Tensor histogram, const UniqueRows& unique) {
  count_kernel<<<528, 256, 0, context.stream>>>(
      histogram.as<std::int32_t>(), unique.rows.as<std::int32_t>(),
      unique.offsets.as<std::int32_t>(), unique.count.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("count_usage");
}

}  // namespace memengine::cuda
