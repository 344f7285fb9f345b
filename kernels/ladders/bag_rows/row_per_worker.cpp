// Second rung: with the picks sorted by row, each row is one thread's alone, which writes it once.
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/ladders/bag_rows/rungs.h"

namespace memengine::ladders {

void row_per_worker(const Context& context, Tensor row_gradients, Tensor coefficients,
                    Tensor vectors, const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context,
                    cuda::row_per_worker(context, row_gradients, coefficients, vectors, unique));
  const auto per_token = static_cast<std::uint32_t>(coefficients.dim(1));
  const std::int64_t columns = vectors.dim(1);
  const auto* order = unique.order.as<std::int32_t>();
  const auto* offsets = unique.offsets.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
#pragma omp parallel for schedule(dynamic, 16)
  for (std::int64_t u = 0; u < count; ++u) {
    float* row = row_gradients.as<float>() + u * columns;
    for (std::int64_t i = 0; i < columns; ++i) row[i] = 0;
    for (std::int32_t place = offsets[u]; place < offsets[u + 1]; ++place) {
      const auto pick = static_cast<std::uint32_t>(order[place]);
      const float* vector = vectors.as<float>() + pick / per_token * columns;
      const float coefficient = coefficients.as<float>()[pick];
      for (std::int64_t i = 0; i < columns; ++i) row[i] += coefficient * vector[i];
    }
  }
}

}  // namespace memengine::ladders
