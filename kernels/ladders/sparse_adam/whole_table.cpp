// First rung: what a framework does with a table that is a parameter like any other. The rows'
// gradients are scattered into a gradient as large as the table, and every row is updated.
#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/ladders/sparse_adam/adam_element.h"
#include "kernels/runtime/runtime.h"

namespace memengine::ladders {

void whole_table(const Context& context, const PlainTable& table, Tensor dense_gradients,
                 const UniqueRows& unique, Tensor row_gradients, const AdamConstants& adam) {
  MEMENGINE_ON_CUDA(
      context, cuda::whole_table(context, table, dense_gradients, unique, row_gradients, adam));
  fill_zero(context, dense_gradients);
  auto* gradients = dense_gradients.as<float>();
  const std::int64_t columns = row_gradients.dim(1);
  for (std::int64_t u = 0; u < *unique.count.as<std::int32_t>(); ++u) {
    std::copy_n(row_gradients.as<float>() + u * columns, columns,
                gradients + unique.rows.as<std::int32_t>()[u] * columns);
  }
  const PlainArrays arrays(table);
  const std::int64_t size = table.weights.size();
#pragma omp parallel for
  for (std::int64_t i = 0; i < size; ++i) arrays.update(i, gradients[i], adam);
}

}  // namespace memengine::ladders
