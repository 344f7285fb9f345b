// Second rung: the same block picks from n scores of each half, then from knn^2 pairs of what it
// picked.
#include "kernels/ladders/product_key/one_by_one.cuh"
#include "kernels/ladders/product_key/rungs.h"

namespace memengine::ladders::cuda {
namespace {

using memengine::cuda::grid_size;

__global__ void __launch_bounds__(selecting_threads)
    two_halves_kernel(std::int32_t* indices, bfloat16* weights, const float* scores, int knn,
                      int n_keys) {
  __shared__ std::uint64_t half[2][most_picks];
  __shared__ std::uint64_t picked[most_picks];
  const std::int64_t lookup = blockIdx.x;
  for (int h = 0; h < 2; ++h) {
    const float* of_half = scores + (lookup * 2 + h) * n_keys;
    pick_one_by_one(half[h], knn, n_keys,
                    [&](int i) { return candidate(of_half[i], static_cast<unsigned>(i)); });
  }
  pick_one_by_one(picked, knn, knn * knn, [&](int i) {
    const std::uint64_t a = half[0][i / knn], b = half[1][i % knn];
    return candidate(score_of(a) + score_of(b),
                     index_of(a) * static_cast<unsigned>(n_keys) + index_of(b));
  });
  write_picks(indices + lookup * knn, weights + lookup * knn, picked, knn);
}

}  // namespace

void two_halves(const Context& context, Tensor indices, Tensor weights, Tensor query,
                Tensor sub_keys) {
  const Selection from(context, indices, query, sub_keys);
  two_halves_kernel<<<grid_size(from.lookups()), selecting_threads, 0, context.stream>>>(
      indices.as<std::int32_t>(), weights.as<bfloat16>(), from.scores,
      static_cast<int>(from.shape.knn), static_cast<int>(from.shape.n_keys));
  MEMENGINE_LAUNCH_CHECK("ladders: two_halves");
}

}  // namespace memengine::ladders::cuda
