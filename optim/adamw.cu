// AdamW on CUDA: one pass over the flat block, four parameters per thread, 30 bytes per parameter
// (four FP32 reads, three FP32 writes and the BF16 copy). The learning rate and the bias
// corrections are read from the schedule in device memory, so that a captured step serves all
// steps.
#include "optim/adamw.h"

#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int threads = 256;

struct Coefficients {
  float beta1, beta2, one_minus_beta1, one_minus_beta2, epsilon, weight_decay;
};

template <int width, bool with_copy>
__global__ void __launch_bounds__(threads)
    adamw_kernel(float* weights, bfloat16* compute, float* first_moment, float* second_moment,
                 const float* gradients, std::int64_t size, const ScheduleEntry* schedule,
                 const std::int32_t* step, const float* gradient_scale, Coefficients c) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * threads + threadIdx.x) * width;
  if (i >= size) return;
  const float scale = *gradient_scale;
  if (isnan(scale)) return;
  const ScheduleEntry now = schedule[*step + 1];
  const float decay = 1.0F - now.learning_rate * c.weight_decay;
  const float step_size = now.learning_rate / now.bias_correction1;
  const float root_correction = rsqrtf(now.bias_correction2);

  float w[width];
  float m[width];
  float v[width];
  float g[width];
  load(weights + i, w);
  load(first_moment + i, m);
  load(second_moment + i, v);
  load(gradients + i, g);
#pragma unroll
  for (int j = 0; j < width; ++j) {
    const float gradient = g[j] * scale;
    m[j] = c.beta1 * m[j] + c.one_minus_beta1 * gradient;
    v[j] = c.beta2 * v[j] + c.one_minus_beta2 * gradient * gradient;
    w[j] = w[j] * decay - step_size * m[j] / (sqrtf(v[j]) * root_correction + c.epsilon);
  }
  store(weights + i, w);
  store(first_moment + i, m);
  store(second_moment + i, v);
  if constexpr (with_copy) store(compute + i, w);
}

__global__ void __launch_bounds__(1)
    clip_scale_kernel(float* scale, double* norm, const double* square_sum, double max_norm) {
  const double length = sqrt(*square_sum);
  *norm = length;
  if (!isfinite(length))
    *scale = nanf("");
  else
    *scale = max_norm > 0 ? static_cast<float>(fmin(1.0, max_norm / (length + 1e-6))) : 1.0F;
}

__global__ void __launch_bounds__(1)
    advance_step_kernel(std::int32_t* step, double* log_decay, const ScheduleEntry* schedule,
                        const float* value_scale) {
  const std::int32_t now = *step;
  const double log_keep = isnan(*value_scale) ? 0 : schedule[now + 1].value_log_keep;
  log_decay[now + 1] = log_decay[now] + log_keep;
  *step = now + 1;
}

}  // namespace

void clip_scale(const Context& context, Tensor scale, Tensor norm, Tensor square_sum,
                double max_norm) {
  clip_scale_kernel<<<1, 1, 0, context.stream>>>(scale.as<float>(), norm.as<double>(),
                                                 square_sum.as<double>(), max_norm);
  MEMENGINE_LAUNCH_CHECK("clip_scale");
}

void adamw(const Context& context, Tensor weights, Tensor compute, Tensor first_moment,
           Tensor second_moment, Tensor gradients, const UpdateState& state,
           const AdamHyperparameters& hyperparameters) {
  const std::int64_t size = weights.size();
  if (size == 0) return;
  const Coefficients coefficients = {static_cast<float>(hyperparameters.beta1),
                                     static_cast<float>(hyperparameters.beta2),
                                     static_cast<float>(1.0 - hyperparameters.beta1),
                                     static_cast<float>(1.0 - hyperparameters.beta2),
                                     static_cast<float>(hyperparameters.epsilon),
                                     static_cast<float>(hyperparameters.weight_decay)};
  const auto* schedule = reinterpret_cast<const ScheduleEntry*>(state.schedule.as<std::uint8_t>());
  const auto launch = [&]<int width, bool with_copy>(std::int64_t first, std::int64_t count) {
    if (count == 0) return;
    adamw_kernel<width, with_copy><<<grid_size(ceil_divide(count, std::int64_t{threads} * width)),
                                     threads, 0, context.stream>>>(
        weights.as<float>() + first, with_copy ? compute.as<bfloat16>() + first : nullptr,
        first_moment.as<float>() + first, second_moment.as<float>() + first,
        gradients.as<float>() + first, count, schedule, state.step.as<std::int32_t>(),
        state.dense_scale.as<float>(), coefficients);
    MEMENGINE_LAUNCH_CHECK("adamw");
  };
  const auto launch_all = [&]<bool with_copy>() {
    const bool aligned =
        in_vectors<float>(0, {weights.data(), first_moment.data(), second_moment.data(),
                              gradients.data(), compute.data()});
    const std::int64_t in_fours = aligned ? size / 4 * 4 : 0;
    launch.template operator()<4, with_copy>(0, in_fours);
    launch.template operator()<1, with_copy>(in_fours, size - in_fours);
  };
  if (compute.empty())
    launch_all.template operator()<false>();
  else
    launch_all.template operator()<true>();
}

void advance_step(const Context& context, const UpdateState& state) {
  advance_step_kernel<<<1, 1, 0, context.stream>>>(
      state.step.as<std::int32_t>(), state.log_decay.as<double>(),
      reinterpret_cast<const ScheduleEntry*>(state.schedule.as<std::uint8_t>()),
      state.value_scale.as<float>());
  MEMENGINE_LAUNCH_CHECK("advance_step");
}

}  // namespace memengine::cuda
