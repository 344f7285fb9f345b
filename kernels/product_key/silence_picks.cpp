// Silencing on the CPU: one look at two lists for each pick.
#include "kernels/product_key/silence_picks.h"

#include "kernels/dispatch.h"

namespace memengine {

void silence_picks(const Context& context, Tensor weights, Tensor indices, Tensor heads,
                   Tensor rows) {
  MEMENGINE_ON_CUDA(context, cuda::silence_picks(context, weights, indices, heads, rows));
  const std::int64_t knn = indices.dim(2);
  const std::int64_t lists = indices.dim(0) * indices.dim(1);  // N * H
  const auto* picked = indices.as<std::int32_t>();
  const std::uint8_t* silent_heads = heads.empty() ? nullptr : heads.as<std::uint8_t>();
  const std::uint8_t* silent_rows = rows.empty() ? nullptr : rows.as<std::uint8_t>();
  dispatch_floating(weights.dtype(), [&]<typename T>() {
    T* w = weights.as<T>();
#pragma omp parallel for
    for (std::int64_t list = 0; list < lists; ++list) {
      const bool whole = silent_heads != nullptr && silent_heads[list % indices.dim(1)] != 0;
      for (std::int64_t pick = list * knn; pick < (list + 1) * knn; ++pick) {
        if (whole || (silent_rows != nullptr && silent_rows[picked[pick]] != 0)) w[pick] = T(0);
      }
    }
  });
}

}  // namespace memengine
