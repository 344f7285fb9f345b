// Layer normalisation of the queries (Ba et al. 2016): each head's query is normalised over its
// own k_dim elements, then scaled and shifted by that head's weight and bias.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// x, out [N, H, k_dim] (out may be x); mean, inverse_std [N, H] f32 (f64 for f64) kept for the
// backward pass; weight, bias [H, k_dim] f32 (f64). epsilon 1e-5.
void layer_norm_forward(const Context& context, Tensor out, Tensor mean, Tensor inverse_std,
                        Tensor x, Tensor weight, Tensor bias);

// dx overwritten (may be dout); dweight, dbias [H, k_dim] +=, both empty: not wanted. x is the
// forward's input.
void layer_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dbias,
                         Tensor dout, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight);

std::int64_t layer_norm_scratch_bytes(Device device, std::int64_t rows, std::int64_t features);

namespace cuda {
decltype(memengine::layer_norm_forward) layer_norm_forward;
decltype(memengine::layer_norm_backward) layer_norm_backward;
std::int64_t layer_norm_scratch_bytes(std::int64_t rows, std::int64_t features);
}  // namespace cuda

}  // namespace memengine
