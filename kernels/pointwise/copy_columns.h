// Copies some columns of a matrix: the heads of a kind out of packed ones, and back.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out[n, out_first + c] = x[n, x_first + c] for all rows n and 0 <= c < columns. x and out: [N,
// any] of one dtype (any), not the same memory.
void copy_columns(const Context& context, Tensor out, std::int64_t out_first, Tensor x,
                  std::int64_t x_first, std::int64_t columns);

namespace cuda {
decltype(memengine::copy_columns) copy_columns;
}  // namespace cuda

}  // namespace memengine
