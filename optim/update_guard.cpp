// CPU reference of the guard.
#include "optim/update_guard.h"

#include <limits>

#include "kernels/dispatch.h"
#include "optim/update_guard_step.h"

namespace memengine {

void guard_update(const Context& context, const GuardTensors& guard, Tensor loss, Tensor dense_norm,
                  Tensor value_norm, const UpdateState& update, const GuardConfig& config) {
  MEMENGINE_ON_CUDA(
      context, cuda::guard_update(context, guard, loss, dense_norm, value_norm, update, config));
  auto& state = *reinterpret_cast<GuardState*>(guard.state.as<std::uint8_t>());
  double* window = guard.window.empty() ? nullptr : guard.window.as<double>();
  const std::int64_t length = guard.window.empty() ? 0 : guard.window.dim(1);
  const double figures[3] = {*loss.as<double>(), *dense_norm.as<double>(),
                             value_norm.empty() ? 0 : *value_norm.as<double>()};
  double means[3] = {};
  double deviations[3] = {};
  for (int i = 0; i < 3 && length > 0 && state.seen >= length; ++i) {
    const double* scores = window + i * length;
    for (std::int64_t k = 0; k < length; ++k) means[i] += scores[k];
    means[i] /= static_cast<double>(length);
    double squares = 0;
    for (std::int64_t k = 0; k < length; ++k) {
      squares += (scores[k] - means[i]) * (scores[k] - means[i]);
    }
    deviations[i] = std::sqrt(squares / static_cast<double>(length));
  }
  const GuardLimits limits{length, config.spike_zscore, config.skip_spikes};
  const std::int64_t step = *update.step.as<std::int32_t>() + 1;
  if (guard_decide(state, window, step, figures, means, deviations, limits) ==
      GuardVerdict::leave_out) {
    *update.dense_scale.as<float>() = std::numeric_limits<float>::quiet_NaN();
    *update.value_scale.as<float>() = std::numeric_limits<float>::quiet_NaN();
  }
}

}  // namespace memengine
