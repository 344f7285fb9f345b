// Token embedding: a row of the weight per token.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// out [N, C] = weight [vocabulary, C] rows at tokens [N] i32. Tokens are in range (the loader
// checks).
void embedding_forward(const Context& context, Tensor out, Tensor tokens, Tensor weight);

// dweight [vocabulary, C] (f32 for bf16) += dout rows, summed a token in the order of N, so that
// the result does not depend on timing.
void embedding_backward(const Context& context, Tensor dweight, Tensor dout, Tensor tokens);

std::int64_t embedding_scratch_bytes(Device device, std::int64_t tokens, std::int64_t vocabulary);

namespace cuda {
decltype(memengine::embedding_forward) embedding_forward;
decltype(memengine::embedding_backward) embedding_backward;
std::int64_t embedding_scratch_bytes(std::int64_t tokens, std::int64_t vocabulary);
}  // namespace cuda

}  // namespace memengine
