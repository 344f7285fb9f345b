// Sums over whole tensors, in a fixed order: losses, gradient norms.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out [1] f64 = sum of x * scale. x f32 or f64, any shape.
void sum(const Context& context, Tensor out, Tensor x, double scale);

// out [1] f64 = sum of squares of x (f32 or f64).
void square_sum(const Context& context, Tensor out, Tensor x);

// out [1] f64 = sum of squares of the first `count` [1] i32 rows of x [capacity, V].
void square_sum_rows(const Context& context, Tensor out, Tensor x, Tensor count);

std::int64_t reduce_scratch_bytes(Device device, std::int64_t elements);

namespace cuda {
decltype(memengine::sum) sum;
decltype(memengine::square_sum) square_sum;
decltype(memengine::square_sum_rows) square_sum_rows;
std::int64_t reduce_scratch_bytes(std::int64_t elements);
}  // namespace cuda

}  // namespace memengine
