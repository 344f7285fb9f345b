// Small element-wise ops: sums of tensors and changes of dtype.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out = a + b, one dtype and size; out may be a or b.
void add(const Context& context, Tensor out, Tensor a, Tensor b);

// out = x in out's dtype (f32 <-> bf16 on CUDA; f32 <-> f64 on the CPU), round to nearest even.
void cast(const Context& context, Tensor out, Tensor x);

namespace cuda {
decltype(memengine::add) add;
decltype(memengine::cast) cast;
}  // namespace cuda

}  // namespace memengine
