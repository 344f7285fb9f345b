// One warp per pick: its lanes share the two dot products.
#include "kernels/device_math.cuh"
#include "kernels/product_key/picked_scores.h"

namespace memengine::cuda {
namespace {

constexpr int score_threads = 256;

template <typename T>
__device__ float number(T x) {
  if constexpr (sizeof(T) == 4)
    return x;
  else
    return to_float(x);
}

template <typename T>
__global__ void __launch_bounds__(score_threads)
    picked_scores_kernel(float* scores, const std::int32_t* indices, const T* query,
                         const T* sub_keys, std::int64_t picks, int heads, int knn,
                         std::int64_t n_keys, int half) {
  const std::int64_t pick =
      (static_cast<std::int64_t>(blockIdx.x) * score_threads + threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  if (pick >= picks) return;
  const std::int64_t group = pick / knn;  // (token, head)
  const std::int64_t row = indices[pick];
  const T* q = query + group * 2 * half;
  const T* keys = sub_keys + group % heads * 2 * n_keys * half;
  const T* first = keys + row / n_keys * half;
  const T* second = keys + (n_keys + row % n_keys) * half;
  float score = 0;
  for (int i = lane; i < half; i += warp_size) {
    score += number(q[i]) * number(first[i]) + number(q[half + i]) * number(second[i]);
  }
  score = warp_sum(score);
  if (lane == 0) scores[pick] = score;
}

}  // namespace

void picked_scores(const Context& context, Tensor scores, Tensor indices, Tensor query,
                   Tensor sub_keys) {
  const std::int64_t picks = indices.size();
  dispatch_storage("picked_scores", query.dtype(), [&]<typename T>() {
    picked_scores_kernel<<<grid_size(ceil_divide(picks * warp_size, score_threads)), score_threads,
                           0, context.stream>>>(
        scores.as<float>(), indices.as<std::int32_t>(), query.as<T>(), sub_keys.as<T>(), picks,
        static_cast<int>(query.dim(1)), static_cast<int>(indices.dim(2)), sub_keys.dim(2),
        static_cast<int>(sub_keys.dim(3)));
  });
  MEMENGINE_LAUNCH_CHECK("picked_scores");
}

}  // namespace memengine::cuda
