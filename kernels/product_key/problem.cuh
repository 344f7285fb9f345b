// What the forward and backward pass of the product keys share.
#pragma once

#include "kernels/device_math.cuh"
#include "kernels/product_key/hopper/hopper.h"
#include "kernels/product_key/product_key.h"

namespace memengine::cuda::product_key {

inline constexpr std::int64_t most_knn = 128;

inline ProductKeyShape checked_shape(Tensor indices, Tensor query, Tensor sub_keys) {
  const ProductKeyShape shape{.tokens = query.dim(0),
                              .heads = query.dim(1),
                              .knn = indices.dim(2),
                              .n_keys = sub_keys.dim(2),
                              .k_dim = query.dim(2),
                              .dtype = query.dtype()};
  if (shape.k_dim % 2 != 0 || shape.knn < 1 || shape.knn > shape.n_keys || shape.knn > most_knn ||
      shape.n_keys * shape.n_keys > 0x7fffffff) {
    fail_internal(
        "product_key on CUDA: query {}, sub-keys {} and indices {} do not fit together, or knn is "
        "above {}",
        query.shape_text(), sub_keys.shape_text(), indices.shape_text(), most_knn);
  }
  return shape;
}

// Does this lookup go through hopper/forward.cu? A context that grants a block less shared memory
// than the GPU has gets the kernels of such GPUs.
inline bool is_fused(const Context& context, const ProductKeyShape& shape) {
  if constexpr (MEMENGINE_HAS_HOPPER) {
    return context.block_shared_bytes >= hopper::shared_bytes && hopper::can_run(shape);
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
