// What the forward and backward pass of the product keys share, on the CPU and (problem.cuh) on
// CUDA.
#pragma once

#include <limits>

#include "kernels/product_key/product_key.h"

namespace memengine::product_key {

// The shape, if the tensors fit together and knn is at most `most_knn`; internal error otherwise.
inline ProductKeyShape checked_shape(
    Tensor indices, Tensor query, Tensor sub_keys,
    std::int64_t most_knn = std::numeric_limits<std::int64_t>::max()) {
  const ProductKeyShape shape{.tokens = query.dim(0),
                              .heads = query.dim(1),
                              .knn = indices.dim(2),
                              .n_keys = sub_keys.dim(2),
                              .k_dim = query.dim(2),
                              .dtype = query.dtype()};
  if (shape.k_dim % 2 != 0 || shape.knn < 1 || shape.knn > shape.n_keys || shape.knn > most_knn ||
      shape.n_keys * shape.n_keys > std::numeric_limits<std::int32_t>::max()) {
    fail_internal(
        "product_key: query {}, sub-keys {} and indices {} do not fit together, or knn is above {}",
        query.shape_text(), sub_keys.shape_text(), indices.shape_text(), most_knn);
  }
  return shape;
}

std::int64_t forward_scratch_bytes(const ProductKeyShape& shape);
std::int64_t backward_scratch_bytes(const ProductKeyShape& shape);

}  // namespace memengine::product_key
