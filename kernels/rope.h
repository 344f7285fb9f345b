// Rotary position embedding (Su et al. 2021), interleaved pairs (2i, 2i+1) as in Llama's original
// code: each pair of a query or key head is turned by the angle position * theta^(-2i / head_dim).
//
// Angle, cosine and sine are rounded to FP32 in every dtype, as the tables of Llama's code and of
// transformers are: a model must be run with the angles it was trained with.
#pragma once

#include "kernels/rope_scaling.h"
#include "kernels/runtime/context.h"

namespace memengine {

struct RopeAngles {
  double theta = 1e4;
  RopeScaling scaling;

  RopeAngles(double base, const RopeScaling& how = {})  // NOLINT: a base alone is the usual case
      : theta(base), scaling(how) {}
};

// In place on the first `rotated_heads` heads of qkv [N, all_heads, head_dim] (the query heads and
// then the key heads; the value heads after them are left alone). positions [N] i32.
void rope_forward(const Context& context, Tensor qkv, Tensor positions, std::int64_t rotated_heads,
                  const RopeAngles& angles);

// The inverse rotation, in place on the gradient: a rotation's transpose is its inverse.
void rope_backward(const Context& context, Tensor dqkv, Tensor positions,
                   std::int64_t rotated_heads, const RopeAngles& angles);

// theta^(-2i / head_dim) of pair i, in FP32, scaled.
float rope_frequency(const RopeAngles& angles, std::int64_t i, std::int64_t head_dim);

namespace cuda {
decltype(memengine::rope_forward) rope_forward;
decltype(memengine::rope_backward) rope_backward;
}  // namespace cuda

}  // namespace memengine
