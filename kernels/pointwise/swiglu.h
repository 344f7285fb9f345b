// SwiGLU's gate (Shazeer 2020): out = silu(gate) * up, silu(x) = x / (1 + exp(-x)).
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out [N, F] from gate_up [N, 2 F]: the first F columns are the gate (w1 x), the rest up (w3 x).
void swiglu_forward(const Context& context, Tensor out, Tensor gate_up);

// dgate_up [N, 2 F] overwritten; may be the same memory as gate_up. `out` [N, F] holds the gradient
// of the forward pass's output, and on return that output itself, to the bit: the pass reads gate
// and up anyway, and who wants the gradient of the layer that reads `out` needs it again.
void swiglu_backward(const Context& context, Tensor dgate_up, Tensor out, Tensor gate_up);

// The memory layer's form with two separate operands: out [N, V] = x * silu(gate), all [N, V].
void silu_gate_forward(const Context& context, Tensor out, Tensor x, Tensor gate);

// dx and dgate overwritten; each may be the same memory as dout.
void silu_gate_backward(const Context& context, Tensor dx, Tensor dgate, Tensor dout, Tensor x,
                        Tensor gate);

namespace cuda {
decltype(memengine::swiglu_forward) swiglu_forward;
decltype(memengine::swiglu_backward) swiglu_backward;
decltype(memengine::silu_gate_forward) silu_gate_forward;
decltype(memengine::silu_gate_backward) silu_gate_backward;
}  // namespace cuda

}  // namespace memengine
