// Second rung: a thread for every number of the rows that have a gradient. A row is read in three
// places and written in four.
#include "kernels/device_math.cuh"
#include "kernels/ladders/sparse_adam/adam_element.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int touched_threads = 256;

__global__ void __launch_bounds__(touched_threads)
    update_touched_kernel(PlainArrays arrays, const float* row_gradients, const std::int32_t* rows,
                          const std::int32_t* count, std::int64_t columns, AdamConstants adam) {
  const std::int64_t i = std::int64_t{blockIdx.x} * touched_threads + threadIdx.x;
  const std::int64_t u = i / columns;
  if (u < *count) arrays.update(rows[u] * columns + i % columns, row_gradients[i], adam);
}

}  // namespace

void touched_rows(const Context& context, const PlainTable& table, const UniqueRows& unique,
                  Tensor row_gradients, const AdamConstants& adam) {
  update_touched_kernel<<<grid_size(ceil_divide(row_gradients.size(), touched_threads)),
                          touched_threads, 0, context.stream>>>(
      PlainArrays(table), row_gradients.as<float>(), unique.rows.as<std::int32_t>(),
      unique.count.as<std::int32_t>(), row_gradients.dim(1), adam);
  MEMENGINE_LAUNCH_CHECK("ladders: touched_rows");
}

}  // namespace memengine::ladders::cuda
