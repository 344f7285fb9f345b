// Second rung: a warp for each distinct row, which sums its picks in order and writes it once. No
// atomics, and the same result every time; but a row with a hundred thousand picks is one warp's.
#include "kernels/device_math.cuh"
#include "kernels/ladders/bag_rows/rungs.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int row_threads = 128;

__global__ void __launch_bounds__(row_threads)
    row_per_warp_kernel(float* row_gradients, const bfloat16* coefficients, const bfloat16* vectors,
                        const std::int32_t* order, const std::int32_t* offsets,
                        const std::int32_t* count, int per_token, int columns) {
  const std::int64_t row =
      std::int64_t{blockIdx.x} * (row_threads / warp_size) + threadIdx.x / warp_size;
  if (row >= *count) return;
  const std::int32_t end = offsets[row + 1];
  for (int column = static_cast<int>(threadIdx.x) % warp_size; column < columns;
       column += warp_size) {
    float sum = 0;
    for (std::int32_t place = offsets[row]; place < end; ++place) {
      const std::int32_t pick = order[place];
      sum += to_float(coefficients[pick]) *
             to_float(vectors[std::int64_t{pick / per_token} * columns + column]);
    }
    row_gradients[row * columns + column] = sum;
  }
}

}  // namespace

void row_per_worker(const Context& context, Tensor row_gradients, Tensor coefficients,
                    Tensor vectors, const UniqueRows& unique) {
  row_per_warp_kernel<<<grid_size(ceil_divide(unique.capacity(), row_threads / warp_size)),
                        row_threads, 0, context.stream>>>(
      row_gradients.as<float>(), coefficients.as<bfloat16>(), vectors.as<bfloat16>(),
      unique.order.as<std::int32_t>(), unique.offsets.as<std::int32_t>(),
      unique.count.as<std::int32_t>(), static_cast<int>(coefficients.dim(1)),
      static_cast<int>(vectors.dim(1)));
  MEMENGINE_LAUNCH_CHECK("ladders: row_per_worker");
}

}  // namespace memengine::ladders::cuda
