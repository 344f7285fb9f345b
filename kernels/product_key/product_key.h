// Product keys (Lample et al. 2019, section 3.2): the knn best of n^2 keys at the price of 2 n.
//
// A full key (i1, i2) is the concatenation of a first-half and a second-half sub-key, so its score
// is a sum, score(i1, i2) = q1 . key1[i1] + q2 . key2[i2]. The knn best pairs are therefore among
// the knn best first halves times the knn best second halves: score both halves against their n
// sub-keys, keep the knn best of each, add up pairs, keep the knn best. The row of a pair in the
// value table is i1 * n + i2.
//
// Few of the knn^2 pairs need adding up. Pair (a, b) of the a-th and the b-th best half, counted
// from 0, is beaten by every other pair (a', b') with a' <= a and b' <= b, whose halves are at
// least as good and, where equal, of a lower row; these are (a + 1)(b + 1) - 1, so only pairs with
// (a + 1)(b + 1) <= knn can be among the knn best.
//
// N tokens, H heads. query [N, H, k_dim]; sub_keys [H, 2, n_keys, k_dim / 2] (the reference's
// [2 H n_keys, k_dim / 2]); indices [N, H, knn] i32; weights [N, H, knn] in the activations' dtype.
// Scores are computed tile by tile or chunk by chunk over tokens, in at least FP32, and never
// stored: the backward pass needs only the picked pairs.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// indices = the knn best rows of each head, best first; equal scores: the lower row first. Half
// scores are rounded once, to FP32 (FP64 for f64); pairs are ordered by the exact sum of two of
// them, not by the rounded one, which ties where exact ones do not.
// weights = softmax of their scores over knn. On CUDA knn is at most 128 (internal error beyond).
void product_key_forward(const Context& context, Tensor indices, Tensor weights, Tensor query,
                         Tensor sub_keys);

// dquery overwritten; dsub_keys (f32 for bf16) +=, in a fixed order, empty: not wanted; sub-keys
// that nobody picked keep what they had. On Hopper GPUs in BF16 the gradient of a score is rounded
// to BF16 for dsub_keys. dweights [N, H, knn] in the activations' dtype; weights, indices, query,
// sub_keys as in forward.
void product_key_backward(const Context& context, Tensor dquery, Tensor dsub_keys, Tensor dweights,
                          Tensor weights, Tensor indices, Tensor query, Tensor sub_keys);

struct ProductKeyShape {
  std::int64_t tokens, heads, knn, n_keys, k_dim;
  DType dtype;  // of the activations
};
std::int64_t product_key_scratch_bytes(Device device, const ProductKeyShape& shape);

namespace cuda {
decltype(memengine::product_key_forward) product_key_forward;
decltype(memengine::product_key_backward) product_key_backward;
std::int64_t product_key_scratch_bytes(const ProductKeyShape& shape);
}  // namespace cuda

}  // namespace memengine
