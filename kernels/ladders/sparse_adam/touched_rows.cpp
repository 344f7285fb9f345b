// Second rung: only rows that have a gradient are read and written.
#include "kernels/dispatch.h"
#include "kernels/ladders/sparse_adam/adam_element.h"

namespace memengine::ladders {

void touched_rows(const Context& context, const PlainTable& table, const UniqueRows& unique,
                  Tensor row_gradients, const AdamConstants& adam) {
  MEMENGINE_ON_CUDA(context, cuda::touched_rows(context, table, unique, row_gradients, adam));
  const PlainArrays arrays(table);
  const std::int64_t columns = row_gradients.dim(1);
  const std::int64_t count = *unique.count.as<std::int32_t>();
#pragma omp parallel for
  for (std::int64_t u = 0; u < count; ++u) {
    const std::int64_t row = unique.rows.as<std::int32_t>()[u];
    for (std::int64_t i = 0; i < columns; ++i) {
      arrays.update(row * columns + i, row_gradients.as<float>()[u * columns + i], adam);
    }
  }
}

}  // namespace memengine::ladders
