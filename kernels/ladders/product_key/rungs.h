// A ladder to the product-key lookup (kernels/product_key/product_key.h), from the obvious way on.
//
//     all_pairs   the score of every one of the n^2 keys, the knn best of all
//     two_halves  the knn best of each half's n scores, then the best of the knn^2 pairs
//     staircase   pairs in descending order only, as far as they are wanted
//
// All store the scores of both halves first; they differ in how they select. Tensors as in
// product_key_forward(), in FP32 on the CPU and in BF16 on CUDA, where knn is at most 32 and n_keys
// at most 1024. Pairs whose sums differ, but not after rounding to FP32, may come in another order
// than product_key_forward() gives them.
#pragma once

#include "kernels/product_key/product_key.h"

namespace memengine::ladders {

void all_pairs(const Context& context, Tensor indices, Tensor weights, Tensor query,
               Tensor sub_keys);
void two_halves(const Context& context, Tensor indices, Tensor weights, Tensor query,
                Tensor sub_keys);
void staircase(const Context& context, Tensor indices, Tensor weights, Tensor query,
               Tensor sub_keys);

// Of each of them.
std::int64_t lookup_scratch_bytes(const ProductKeyShape& shape);

namespace cuda {
decltype(ladders::all_pairs) all_pairs;
decltype(ladders::two_halves) two_halves;
decltype(ladders::staircase) staircase;
}  // namespace cuda

}  // namespace memengine::ladders
