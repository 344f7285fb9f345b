// Usage figures on the GPU. The divergence is one number from up to millions of rows: a cluster of
// eight blocks sums it in one launch, each block into its shared memory, and the first block adds
// the eight up in order, so the figure is the same every time and needs no scratch memory.
#include "kernels/table/row_usage.h"

#include <cooperative_groups.h>

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

namespace groups = cooperative_groups;

constexpr int cluster_blocks = 8;
constexpr int threads = 1024;

__global__ void __cluster_dims__(cluster_blocks, 1, 1) __launch_bounds__(threads)
    divergence_kernel(double* kl, const std::int32_t* offsets, const std::int32_t* count_pointer,
                      double picks, double table_rows) {
  __shared__ double of_block;
  const int count = *count_pointer;
  double sum = 0;
  for (int u = static_cast<int>(blockIdx.x) * threads + static_cast<int>(threadIdx.x); u < count;
       u += cluster_blocks * threads) {
    const double share = (offsets[u + 1] - offsets[u]) / picks;
    sum += share * log(share * table_rows);
  }
  sum = team_sum<threads>(sum);
  if (threadIdx.x == 0) of_block = sum;
  const groups::cluster_group cluster = groups::this_cluster();
  cluster.sync();
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    double total = 0;
    for (unsigned block = 0; block < cluster_blocks; ++block) {
      total += *cluster.map_shared_rank(&of_block, block);
    }
    *kl = total;
  }
  cluster.sync();  // no block leaves while its sum is read
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
  divergence_kernel<<<cluster_blocks, threads, 0, context.stream>>>(
      kl.as<double>(), unique.offsets.as<std::int32_t>(), unique.count.as<std::int32_t>(),
      static_cast<double>(unique.order.size()), static_cast<double>(table_rows));
  MEMENGINE_LAUNCH_CHECK("usage_divergence");
}

void count_usage(const Context& context, Tensor histogram, const UniqueRows& unique) {
  count_kernel<<<528, 256, 0, context.stream>>>(
      histogram.as<std::int32_t>(), unique.rows.as<std::int32_t>(),
      unique.offsets.as<std::int32_t>(), unique.count.as<std::int32_t>());
  MEMENGINE_LAUNCH_CHECK("count_usage");
}

}  // namespace memengine::cuda
