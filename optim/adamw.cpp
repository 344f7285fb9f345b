// CPU reference of AdamW and of the two one-number kernels around it.
#include "optim/adamw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/dispatch.h"
#include "optim/adam_step.h"

namespace memengine {
namespace {

template <typename T>
void update(T* weights, bfloat16* compute, T* first_moment, T* second_moment, const T* gradients,
            std::int64_t count, const UpdateState& state,
            const AdamHyperparameters& hyperparameters) {
  const T scale = *state.dense_scale.as<float>();
  if (std::isnan(scale)) return;
  const ScheduleEntry& entry = current_entry(state);
  const AdamStep<T> adam(entry, hyperparameters);
  const T learning_rate = entry.learning_rate;
  const T keep = 1 - learning_rate * static_cast<T>(hyperparameters.weight_decay);
#pragma omp parallel for simd schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    const T direction = adam.direction(first_moment[i], second_moment[i], gradients[i] * scale);
    weights[i] = keep * weights[i] - learning_rate * direction;
  }
  if (compute == nullptr) return;
#pragma omp parallel for schedule(static)
  for (std::int64_t i = 0; i < count; ++i) {
    compute[i] = to_bfloat16(static_cast<float>(weights[i]));
  }
}

}  // namespace

void clip_scale(const Context& context, Tensor scale, Tensor norm, Tensor square_sum,
                double max_norm) {
  MEMENGINE_ON_CUDA(context, cuda::clip_scale(context, scale, norm, square_sum, max_norm));
  const double length = std::sqrt(*square_sum.as<double>());
  *norm.as<double>() = length;
  double factor = 1;
  if (!std::isfinite(length)) {
    factor = std::numeric_limits<double>::quiet_NaN();
  } else if (max_norm > 0) {
    factor = std::min(1.0, max_norm / (length + 1e-6));
  }
  *scale.as<float>() = static_cast<float>(factor);
}

void adamw(const Context& context, Tensor weights, Tensor compute, Tensor first_moment,
           Tensor second_moment, Tensor gradients, const UpdateState& state,
           const AdamHyperparameters& hyperparameters) {
  MEMENGINE_ON_CUDA(context, cuda::adamw(context, weights, compute, first_moment, second_moment,
                                         gradients, state, hyperparameters));
  dispatch_floating(weights.dtype(), [&]<typename T>() {
    update(weights.as<T>(), compute.empty() ? nullptr : compute.as<bfloat16>(),
           first_moment.as<T>(), second_moment.as<T>(), gradients.as<T>(), weights.size(), state,
           hyperparameters);
  });
}

void advance_step(const Context& context, const UpdateState& state) {
  MEMENGINE_ON_CUDA(context, cuda::advance_step(context, state));
  const bool left_out = std::isnan(*state.value_scale.as<float>());
  const double log_keep = left_out ? 0 : current_entry(state).value_log_keep;
  std::int32_t& step = *state.step.as<std::int32_t>();
  double* log_decay = state.log_decay.as<double>();
  log_decay[step + 1] = log_decay[step] + log_keep;
  ++step;
}

}  // namespace memengine
