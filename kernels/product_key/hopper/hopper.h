// The product-key lookup for BF16 on Hopper GPUs (compute capability 9.0): scores go from the
// tensor cores' registers straight into the selection and never to memory. Compiled for sm_90a.
#pragma once

#include "kernels/product_key/product_key.h"

namespace memengine::cuda::product_key::hopper {

// What a block may take of shared memory on these GPUs, and nearly does.
inline constexpr std::int64_t shared_bytes = 227 * 1024;

// Is the current device of this kind, and the shape one that this kernel takes? knn up to 32, half
// keys of a multiple of 8 up to 256.
bool can_run(const ProductKeyShape& shape);

// As product_key_forward. Needs no scratch memory.
void forward(const Context& context, const ProductKeyShape& shape, Tensor indices, Tensor weights,
             Tensor query, Tensor sub_keys);

// The same for many sub-keys (n_keys above 2048), which takes any number of them.
namespace many_keys {
void forward(const Context& context, const ProductKeyShape& shape, Tensor indices, Tensor weights,
             Tensor query, Tensor sub_keys);
}

// The gradient of the sub-keys as a dense product (backward.cu): takes the shapes of forward() with
// n_keys up to 4096.
bool can_sum_densely(const ProductKeyShape& shape);

// dsub_keys [H, 2, n_keys, k_dim / 2] f32 += sum over tokens of gradient * query half, in a fixed
// order. picks [2 H, N, packed_picks]: sub-key * 65536 + the bits of its score's gradient in BF16;
// each sub-key at most once per token; 0xffffffff where there is none. partials:
// partial_sums_bytes().
inline constexpr int packed_picks = 32;
std::int64_t partial_sums_bytes(const ProductKeyShape& shape);
void sub_key_gradients(const Context& context, const ProductKeyShape& shape, float* dsub_keys,
                       float* partials, const std::uint32_t* picks, Tensor query);

}  // namespace memengine::cuda::product_key::hopper
