// Silencing on CUDA: one thread for each pick.
#include "kernels/product_key/silence_picks.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int silence_threads = 256;

template <typename T>
__global__ void __launch_bounds__(silence_threads)
    silence_kernel(T* weights, const std::int32_t* indices, const std::uint8_t* heads,
                   const std::uint8_t* rows, std::int64_t picks, int head_count, int knn) {
  const std::int64_t pick = std::int64_t{blockIdx.x} * silence_threads + threadIdx.x;
  if (pick >= picks) return;
  const bool silent = (heads != nullptr && heads[pick / knn % head_count] != 0) ||
                      (rows != nullptr && rows[indices[pick]] != 0);
  if (!silent) return;
  const float zero[1] = {0.0F};
  store(weights + pick, zero);
}

}  // namespace

void silence_picks(const Context& context, Tensor weights, Tensor indices, Tensor heads,
                   Tensor rows) {
  const std::int64_t picks = indices.size();
  if (picks == 0) return;
  dispatch_storage("silence_picks", weights.dtype(), [&]<typename T>() {
    silence_kernel<T>
        <<<grid_size(ceil_divide(picks, silence_threads)), silence_threads, 0, context.stream>>>(
            weights.as<T>(), indices.as<std::int32_t>(),
            heads.empty() ? nullptr : heads.as<std::uint8_t>(),
            rows.empty() ? nullptr : rows.as<std::uint8_t>(), picks,
            static_cast<int>(indices.dim(1)), static_cast<int>(indices.dim(2)));
  });
  MEMENGINE_LAUNCH_CHECK("silence_picks");
}

}  // namespace memengine::cuda
