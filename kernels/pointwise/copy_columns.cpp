// A memcpy for each row.
#include "kernels/pointwise/copy_columns.h"

#include <cstring>

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"

namespace memengine {

void copy_columns(const Context& context, Tensor out, std::int64_t out_first, Tensor x,
                  std::int64_t x_first, std::int64_t columns) {
  const std::int64_t rows = x.dim(0);
  if (out.dim(0) != rows || out.dtype() != x.dtype() || out_first + columns > out.dim(1) ||
      x_first + columns > x.dim(1)) {
    fail_internal("copy_columns: {} columns from {} of {} to {} of {}", columns, x_first,
                  x.shape_text(), out_first, out.shape_text());
  }
  if (rows == 0 || columns == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::copy_columns(context, out, out_first, x, x_first, columns));
  const std::int64_t width = element_bytes(x.dtype());
  const std::int64_t to_row = out.dim(1) * width;
  const std::int64_t from_row = x.dim(1) * width;
  std::byte* to = static_cast<std::byte*>(out.data()) + out_first * width;
  const std::byte* from = static_cast<const std::byte*>(x.data()) + x_first * width;
#pragma omp parallel for if (rows * columns > worth_sharing)
  for (std::int64_t n = 0; n < rows; ++n) {
    std::memcpy(to + n * to_row, from + n * from_row, static_cast<std::size_t>(columns * width));
  }
}

}  // namespace memengine
