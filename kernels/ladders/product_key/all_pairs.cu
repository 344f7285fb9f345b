// First rung: a block for each lookup, which looks at all n^2 sums once for every pick.
#include "kernels/ladders/product_key/one_by_one.cuh"
#include "kernels/ladders/product_key/rungs.h"

namespace memengine::ladders::cuda {
namespace {

using memengine::cuda::grid_size;

__global__ void __launch_bounds__(selecting_threads)
    all_pairs_kernel(std::int32_t* indices, bfloat16* weights, const float* scores, int knn,
                     int n_keys) {
  __shared__ float halves[2 * most_keys];
  __shared__ std::uint64_t picked[most_picks];
  const std::int64_t lookup = blockIdx.x;
  for (int i = static_cast<int>(threadIdx.x); i < 2 * n_keys; i += selecting_threads) {
    halves[i] = scores[lookup * 2 * n_keys + i];
  }
  __syncthreads();
  pick_one_by_one(picked, knn, n_keys * n_keys, [&](int i) {
    return candidate(halves[i / n_keys] + halves[n_keys + i % n_keys], static_cast<unsigned>(i));
  });
  write_picks(indices + lookup * knn, weights + lookup * knn, picked, knn);
}

}  // namespace

void all_pairs(const Context& context, Tensor indices, Tensor weights, Tensor query,
               Tensor sub_keys) {
  const Selection from(context, indices, query, sub_keys);
  all_pairs_kernel<<<grid_size(from.lookups()), selecting_threads, 0, context.stream>>>(
      indices.as<std::int32_t>(), weights.as<bfloat16>(), from.scores,
      static_cast<int>(from.shape.knn), static_cast<int>(from.shape.n_keys));
  MEMENGINE_LAUNCH_CHECK("ladders: all_pairs");
}

}  // namespace memengine::ladders::cuda
