// The gated memory's gate: out = sigmoid(gate) * x with one gate per token.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out [N, C] = sigmoid(gate [N, 1]) * x [N, C]. out may be the same memory as x.
void sigmoid_gate_forward(const Context& context, Tensor out, Tensor x, Tensor gate);

// dx [N, C] and dgate [N, 1] overwritten; dx may be the same memory as dout.
void sigmoid_gate_backward(const Context& context, Tensor dx, Tensor dgate, Tensor dout, Tensor x,
                           Tensor gate);

namespace cuda {
decltype(memengine::sigmoid_gate_forward) sigmoid_gate_forward;
decltype(memengine::sigmoid_gate_backward) sigmoid_gate_backward;
}  // namespace cuda

}  // namespace memengine
