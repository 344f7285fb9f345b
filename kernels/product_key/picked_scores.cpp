// Two dot products a pick.
#include "kernels/product_key/picked_scores.h"

#include "kernels/cpu/rows.h"
#include "kernels/dispatch.h"

namespace memengine {

void picked_scores(const Context& context, Tensor scores, Tensor indices, Tensor query,
                   Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::picked_scores(context, scores, indices, query, sub_keys));
  const std::int64_t groups = query.dim(0) * query.dim(1), heads = query.dim(1);
  const std::int64_t knn = indices.dim(2), n_keys = sub_keys.dim(2), half = sub_keys.dim(3);
  dispatch_floating(query.dtype(), [&]<typename T>() {
    const auto* row = indices.as<std::int32_t>();
    T* out = scores.as<T>();
#pragma omp parallel for schedule(static)
    for (std::int64_t group = 0; group < groups; ++group) {  // (token, head)
      const T* q = query.as<T>() + group * 2 * half;
      const T* keys = sub_keys.as<T>() + group % heads * 2 * n_keys * half;
      for (std::int64_t i = group * knn; i < (group + 1) * knn; ++i) {
        const T* first = keys + row[i] / n_keys * half;
        const T* second = keys + (n_keys + row[i] % n_keys) * half;
        out[i] = dot(q, first, half) + dot(q + half, second, half);
      }
    }
  });
}

}  // namespace memengine
