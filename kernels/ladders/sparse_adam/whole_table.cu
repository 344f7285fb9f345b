// First rung: the rows' gradients are scattered into a gradient as large as the table, and a thread
// for every number updates it.
#include "kernels/device_math.cuh"
#include "kernels/ladders/sparse_adam/adam_element.h"
#include "kernels/runtime/runtime.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int dense_threads = 256;

__global__ void __launch_bounds__(dense_threads)
    scatter_kernel(float* dense, const float* row_gradients, const std::int32_t* rows,
                   const std::int32_t* count, std::int64_t columns) {
  const std::int64_t i = std::int64_t{blockIdx.x} * dense_threads + threadIdx.x;
  const std::int64_t u = i / columns;
  if (u < *count) dense[rows[u] * columns + i % columns] = row_gradients[i];
}

__global__ void __launch_bounds__(dense_threads)
    update_all_kernel(PlainArrays arrays, const float* gradients, std::int64_t size,
                      AdamConstants adam) {
  const std::int64_t i = std::int64_t{blockIdx.x} * dense_threads + threadIdx.x;
  if (i < size) arrays.update(i, gradients[i], adam);
}

}  // namespace

void whole_table(const Context& context, const PlainTable& table, Tensor dense_gradients,
                 const UniqueRows& unique, Tensor row_gradients, const AdamConstants& adam) {
  memengine::fill_zero(context, dense_gradients);
  auto* gradients = dense_gradients.as<float>();
  scatter_kernel<<<grid_size(ceil_divide(row_gradients.size(), dense_threads)), dense_threads, 0,
                   context.stream>>>(gradients, row_gradients.as<float>(),
                                     unique.rows.as<std::int32_t>(),
                                     unique.count.as<std::int32_t>(), row_gradients.dim(1));
  MEMENGINE_LAUNCH_CHECK("ladders: whole_table (scatter)");
  const std::int64_t size = table.weights.size();
  update_all_kernel<<<grid_size(ceil_divide(size, dense_threads)), dense_threads, 0,
                      context.stream>>>(PlainArrays(table), gradients, size, adam);
  MEMENGINE_LAUNCH_CHECK("ladders: whole_table");
}

}  // namespace memengine::ladders::cuda
