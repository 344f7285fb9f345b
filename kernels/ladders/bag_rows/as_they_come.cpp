// First rung: one thread, for two that add to one row at the same time would lose a sum.
#include "kernels/dispatch.h"
#include "kernels/ladders/bag_rows/rungs.h"
#include "kernels/runtime/runtime.h"

namespace memengine::ladders {

void as_they_come(const Context& context, Tensor row_gradients, Tensor coefficients, Tensor vectors,
                  const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context,
                    cuda::as_they_come(context, row_gradients, coefficients, vectors, unique));
  fill_zero(context, row_gradients);
  const std::int64_t per_token = coefficients.dim(1), columns = vectors.dim(1);
  const auto* inverse = unique.inverse.as<std::int32_t>();
  for (std::int64_t pick = 0; pick < coefficients.size(); ++pick) {
    float* row = row_gradients.as<float>() + inverse[pick] * columns;
    const float* vector = vectors.as<float>() + pick / per_token * columns;
    const float coefficient = coefficients.as<float>()[pick];
    for (std::int64_t i = 0; i < columns; ++i) row[i] += coefficient * vector[i];
  }
}

}  // namespace memengine::ladders
