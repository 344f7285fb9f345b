// Linear layer: y = x W^T + b, with the weight stored as [outputs, inputs].
//
// All activations share one dtype (f32, f64 on the CPU, or bf16 on CUDA). Products accumulate in at
// least FP32. Parameter gradients are f32 for bf16 activations, else the activations' dtype.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out [M, O] = x [M, I] weight [O, I]^T + bias [O]. `bias` may be empty. `bias` is in the dtype of
// the activations or f32.
void linear_forward(const Context& context, Tensor out, Tensor x, Tensor weight, Tensor bias);

// dx [M, I] = dout [M, O] weight [O, I]; added to dx when `accumulate`.
void linear_backward_input(const Context& context, Tensor dx, Tensor dout, Tensor weight,
                           bool accumulate);

// dweight [O, I] = dout [M, O]^T x [M, I], added to dweight when `accumulate`; dbias [O] += column
// sums of dout, unless empty.
void linear_backward_weight(const Context& context, Tensor dweight, Tensor dbias, Tensor dout,
                            Tensor x, bool accumulate = true);

// Scratch of linear_backward_weight with a bias.
std::int64_t linear_scratch_bytes(Device device, std::int64_t rows, std::int64_t outputs);

namespace cuda {
decltype(memengine::linear_forward) linear_forward;
decltype(memengine::linear_backward_input) linear_backward_input;
decltype(memengine::linear_backward_weight) linear_backward_weight;
std::int64_t linear_scratch_bytes(std::int64_t rows, std::int64_t outputs);
}  // namespace cuda

}  // namespace memengine
