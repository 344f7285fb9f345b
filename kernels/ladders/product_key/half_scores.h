// Scores of both halves of every query against their sub-keys, which the rungs select from.
#pragma once

#include "kernels/product_key/problem.h"

namespace memengine::ladders {

// scores [N, H, 2, n_keys] f32: scores[n, h, s, i] = query[n, h, half s] . sub_keys[h, s, i].
void half_scores(const Context& context, float* scores, Tensor query, Tensor sub_keys,
                 const ProductKeyShape& shape);

inline std::int64_t half_score_count(const ProductKeyShape& shape) {
  return shape.tokens * shape.heads * 2 * shape.n_keys;
}

// One lookup on the CPU: what it selects from, and where its picks go.
struct Lookup {
  const float* first;   // [n_keys] scores of the first half
  const float* second;  // [n_keys]
  std::int32_t* indices;
  float* weights;
  std::int64_t knn, n_keys;
};

// weights [knn] = softmax of the scores that stand there, best first.
void softmax_of_picks(float* weights, std::int64_t knn);

// Calls select(lookup) for every token and head, on the CPU.
template <typename Select>
void for_each_lookup(const Context& context, Tensor indices, Tensor weights, Tensor query,
                     Tensor sub_keys, Select&& select) {
  const ProductKeyShape shape = product_key::checked_shape(indices, query, sub_keys);
  Scratch scratch(context);
  auto* scores = scratch.take<float>(half_score_count(shape));
  half_scores(context, scores, query, sub_keys, shape);
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t i = 0; i < shape.tokens * shape.heads; ++i) {
    const float* first = scores + i * 2 * shape.n_keys;
    select(Lookup{first, first + shape.n_keys, indices.as<std::int32_t>() + i * shape.knn,
                  weights.as<float>() + i * shape.knn, shape.knn, shape.n_keys});
  }
}

namespace cuda {
decltype(ladders::half_scores) half_scores;
}  // namespace cuda

}  // namespace memengine::ladders
