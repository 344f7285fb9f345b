// The guard on CUDA: one warp sums the window, its first lane decides.
#include "kernels/device_math.cuh"
#include "optim/update_guard.h"
#include "optim/update_guard_step.h"

namespace memengine::cuda {
namespace {

// <<<1, 32>>>
__global__ void __launch_bounds__(warp_size)
    guard_kernel(GuardState* state, double* window, const double* loss, const double* dense_norm,
                 const double* value_norm, float* dense_scale, float* value_scale,
                 const std::int32_t* step, GuardLimits limits) {
  const auto lane = static_cast<std::int64_t>(threadIdx.x);
  double means[3] = {};
  double deviations[3] = {};
  if (limits.window > 0 && state->seen >= limits.window) {
    const auto length = static_cast<double>(limits.window);
#pragma unroll
    for (int i = 0; i < 3; ++i) {
      const double* scores = window + i * limits.window;
      double sum = 0;
      for (std::int64_t k = lane; k < limits.window; k += warp_size) sum += scores[k];
      means[i] = warp_sum(sum) / length;
      double squares = 0;
      for (std::int64_t k = lane; k < limits.window; k += warp_size) {
        squares += (scores[k] - means[i]) * (scores[k] - means[i]);
      }
      deviations[i] = sqrt(warp_sum(squares) / length);
    }
  }
  __syncwarp();  // the first lane writes what the others have read
  if (lane != 0) return;
  const double figures[3] = {*loss, *dense_norm, value_norm == nullptr ? 0.0 : *value_norm};
  if (guard_decide(*state, window, *step + 1, figures, means, deviations, limits) ==
      GuardVerdict::leave_out) {
    *dense_scale = nanf("");
    *value_scale = nanf("");
  }
}

}  // namespace

void guard_update(const Context& context, const GuardTensors& guard, Tensor loss, Tensor dense_norm,
                  Tensor value_norm, const UpdateState& update, const GuardConfig& config) {
  const GuardLimits limits{guard.window.empty() ? 0 : guard.window.dim(1), config.spike_zscore,
                           config.skip_spikes};
  guard_kernel<<<1, warp_size, 0, context.stream>>>(
      reinterpret_cast<GuardState*>(guard.state.as<std::uint8_t>()),
      guard.window.empty() ? nullptr : guard.window.as<double>(), loss.as<double>(),
      dense_norm.as<double>(), value_norm.empty() ? nullptr : value_norm.as<double>(),
      update.dense_scale.as<float>(), update.value_scale.as<float>(),
      update.step.as<std::int32_t>(), limits);
  MEMENGINE_LAUNCH_CHECK("guard_update");
}

}  // namespace memengine::cuda
