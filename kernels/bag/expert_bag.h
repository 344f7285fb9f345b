// PEER (He 2024, "Mixture of a million experts"): every picked row is a one-neuron expert.
//
//     a[n, k]  = <x[n], u[indices[n, k]]>
//     c[n, k]  = weights[n, k] * gelu(a[n, k])                 gelu with erf, as in the reference
//     out[n]   = sum_k c[n, k] * v[indices[n, k]]
//
// The second line feeds the same embedding bag as the plain memory layer, so only what stands
// before it is here. Gradients: with da[n, k] = dc * weights * gelu'(a), the rows of u gather da[n,
// k] * x[n] (embedding_bag_backward_rows) and x gathers da[n, k] * u (an embedding bag).
#pragma once

#include "kernels/bag/bag_rows.h"
#include "kernels/runtime/context.h"

namespace memengine {

// activations [N, K] = dot(x[n], u[indices[n, k]]) and coefficients [N, K] = weights * gelu(a), of
// the activations as they are stored. x [N, V], weights [N, K]: one dtype; u and indices: see
// bag_rows.h, embedding_bag.h.
void expert_bag_forward(const Context& context, Tensor coefficients, Tensor activations, Tensor x,
                        const BagRows& u, Tensor indices, Tensor weights);

// dweights = dc * gelu(a); dactivations = dc * weights * gelu'(a); all [N, K], overwritten.
void expert_bag_backward(const Context& context, Tensor dweights, Tensor dactivations,
                         Tensor dcoefficients, Tensor activations, Tensor weights);

namespace cuda {
decltype(memengine::expert_bag_forward) expert_bag_forward;
decltype(memengine::expert_bag_backward) expert_bag_backward;
}  // namespace cuda

}  // namespace memengine
