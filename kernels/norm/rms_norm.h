// RMSNorm (Zhang & Sennrich 2019), with the residual addition before it fused in:
//
//     sum = x + branch
//     out = sum / sqrt(mean(sum^2) + epsilon) * weight
//
// x, branch, sum, out: [N, C] in the activations' dtype; weight [C] in the same dtype (or f32 for
// bf16); inverse_rms [N] f32 (f64 for f64), kept for the backward pass. Statistics accumulate in at
// least FP32.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// `branch` and `sum` may both be empty: then out = norm(x). `sum` may be the same memory as `x`.
void rms_norm_forward(const Context& context, Tensor out, Tensor sum, Tensor inverse_rms, Tensor x,
                      Tensor branch, Tensor weight, double epsilon);

// dx [N, C] = dresidual + d(norm)/dx^T dout, and dweight [C] += .... Empty dweight: not wanted. `x`
// is what was normalised (the sum). `dresidual` is the gradient that reaches x beside the norm; it
// may be empty, and it may be the same memory as dx.
void rms_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dout,
                       Tensor dresidual, Tensor x, Tensor inverse_rms, Tensor weight);

std::int64_t rms_norm_scratch_bytes(Device device, std::int64_t rows, std::int64_t channels);

namespace cuda {
decltype(memengine::rms_norm_forward) rms_norm_forward;
decltype(memengine::rms_norm_backward) rms_norm_backward;
std::int64_t rms_norm_scratch_bytes(std::int64_t rows, std::int64_t channels);
}  // namespace cuda

}  // namespace memengine
