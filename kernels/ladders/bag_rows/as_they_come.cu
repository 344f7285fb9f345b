// First rung: a thread for each pick and column, which adds with an atomic operation. Of a row with
// many picks every addition waits for the one before, in the L2 cache.
#include "kernels/device_math.cuh"
#include "kernels/ladders/bag_rows/rungs.h"
#include "kernels/runtime/runtime.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int adding_threads = 256;

__global__ void __launch_bounds__(adding_threads)
    add_picks_kernel(float* row_gradients, const bfloat16* coefficients, const bfloat16* vectors,
                     const std::int32_t* inverse, std::int64_t picks, int per_token, int columns) {
  const std::int64_t i = std::int64_t{blockIdx.x} * adding_threads + threadIdx.x;
  const std::int64_t pick = i / columns;
  const int column = static_cast<int>(i % columns);
  if (pick >= picks) return;
  atomicAdd(row_gradients + std::int64_t{inverse[pick]} * columns + column,
            to_float(coefficients[pick]) * to_float(vectors[pick / per_token * columns + column]));
}

}  // namespace

void as_they_come(const Context& context, Tensor row_gradients, Tensor coefficients, Tensor vectors,
                  const UniqueRows& unique) {
  memengine::fill_zero(context, row_gradients);
  const std::int64_t picks = coefficients.size(), columns = vectors.dim(1);
  add_picks_kernel<<<grid_size(ceil_divide(picks * columns, adding_threads)), adding_threads, 0,
                     context.stream>>>(row_gradients.as<float>(), coefficients.as<bfloat16>(),
                                       vectors.as<bfloat16>(), unique.inverse.as<std::int32_t>(),
                                       picks, static_cast<int>(coefficients.dim(1)),
                                       static_cast<int>(columns));
  MEMENGINE_LAUNCH_CHECK("ladders: as_they_come");
}

}  // namespace memengine::ladders::cuda
