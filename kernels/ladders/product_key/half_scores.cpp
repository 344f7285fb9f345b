// The scores on the CPU: for each head and half, all tokens' queries times all sub-keys.
#include "kernels/ladders/product_key/half_scores.h"

#include <cmath>

#include "kernels/dispatch.h"
#include "kernels/ladders/product_key/rungs.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine::ladders {

void half_scores(const Context& context, float* scores, Tensor query, Tensor sub_keys,
                 const ProductKeyShape& shape) {
  MEMENGINE_ON_CUDA(context, cuda::half_scores(context, scores, query, sub_keys, shape));
  const std::int64_t half_dim = shape.k_dim / 2;
#pragma omp parallel for
  for (std::int64_t part = 0; part < shape.heads * 2; ++part) {
    gemm<float>(Transpose::no, Transpose::yes, shape.tokens, shape.n_keys, half_dim, 1,
                query.as<float>() + part * half_dim, shape.heads * shape.k_dim,
                sub_keys.as<float>() + part * shape.n_keys * half_dim, half_dim, 0,
                scores + part * shape.n_keys, shape.heads * 2 * shape.n_keys);
  }
}

void softmax_of_picks(float* weights, std::int64_t knn) {
  const float best = weights[0];
  float sum = 0;
  for (std::int64_t k = 0; k < knn; ++k) sum += weights[k] = std::exp(weights[k] - best);
  for (std::int64_t k = 0; k < knn; ++k) weights[k] /= sum;
}

std::int64_t lookup_scratch_bytes(const ProductKeyShape& shape) {
  return scratch_part<float>(half_score_count(shape));
}

}  // namespace memengine::ladders
