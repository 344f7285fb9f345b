// What the forward and backward pass of the product keys share on CUDA.
#pragma once

#include "kernels/device_math.cuh"
#include "kernels/few_tokens.h"
#include "kernels/product_key/hopper/hopper.h"
#include "kernels/product_key/problem.h"

namespace memengine::cuda::product_key {

inline constexpr std::int64_t most_knn = 128;

inline ProductKeyShape checked_shape(Tensor indices, Tensor query, Tensor sub_keys) {
  return memengine::product_key::checked_shape(indices, query, sub_keys, most_knn);
}

// Does this lookup go through hopper/forward.cu? Few tokens do not fill its blocks. A context that
// grants a block less shared memory than the GPU has gets the kernels of such GPUs.
inline bool is_fused(const Context& context, const ProductKeyShape& shape) {
  if constexpr (MEMENGINE_HAS_HOPPER) {
    return shape.tokens > few_tokens && context.block_shared_bytes >= hopper::shared_bytes &&
           hopper::can_run(shape);
  }
  return false;
}

// Do its sub-key gradients go through hopper/backward.cu?
inline bool is_summed_densely(const Context& context, const ProductKeyShape& shape) {
  if constexpr (MEMENGINE_HAS_HOPPER) {
    return context.block_shared_bytes >= hopper::shared_bytes && hopper::can_sum_densely(shape);
  }
  return false;
}

std::int64_t forward_scratch_bytes(const ProductKeyShape& shape);
std::int64_t backward_scratch_bytes(const ProductKeyShape& shape);

}  // namespace memengine::cuda::product_key
