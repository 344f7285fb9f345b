// What the lookup kernels on Hopper are launched with: how the copy engine finds queries and
// sub-keys, and the shared memory of their blocks. Host code.
#pragma once

#include "kernels/attention/hopper/hopper.h"
#include "kernels/product_key/product_key.h"

namespace memengine::cuda::product_key::hopper {

constexpr int shared_bytes_of_two = 113 * 1024;  // what a block may have where there are two

// Halves are apart, so that what lies beyond an element count of 64 reads as zero.
inline CUtensorMap map_of_queries(const ProductKeyShape& shape, Tensor query, int block_tokens) {
  const auto half_dim = static_cast<int>(shape.k_dim / 2);
  return cuda::hopper::tensor_map(query.as<bfloat16>(), static_cast<int>(2 * shape.heads),
                                  static_cast<int>(shape.tokens), half_dim, block_tokens, half_dim,
                                  shape.heads * shape.k_dim);
}
inline CUtensorMap map_of_sub_keys(const ProductKeyShape& shape, Tensor sub_keys, int chunk_keys) {
  return cuda::hopper::tensor_map(sub_keys.as<bfloat16>(), static_cast<int>(2 * shape.heads),
                                  static_cast<int>(shape.n_keys), static_cast<int>(shape.k_dim / 2),
                                  chunk_keys);
}

template <typename Kernel>
void allow_shared_bytes(Kernel* kernel, int bytes) {
  MEMENGINE_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  // Without this the driver may give the L1 cache what the second block needs.
  MEMENGINE_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                            cudaSharedmemCarveoutMaxShared));
}

}  // namespace memengine::cuda::product_key::hopper
