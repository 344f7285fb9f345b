// One Adam step of one number, shared by the dense and the sparse optimizer on the CPU.
#pragma once

#include <cmath>

#include "optim/adamw.h"

namespace memengine {

// The schedule's entry of the update under way, step + 1.
inline const ScheduleEntry& current_entry(const UpdateState& state) {
  const std::int64_t update = std::int64_t{*state.step.as<std::int32_t>()} + 1;
  const auto* entries = reinterpret_cast<const ScheduleEntry*>(state.schedule.as<std::uint8_t>());
  const std::int64_t count =
      state.schedule.size() / static_cast<std::int64_t>(sizeof(ScheduleEntry));
  if (update < 1 || update >= count) {
    fail_internal("update {} lies outside the schedule of {} updates", update, count - 1);
  }
  return entries[update];
}

template <typename T>
struct AdamStep {
  T beta1, one_minus_beta1, beta2, one_minus_beta2, inverse_correction1, inverse_correction2,
      epsilon;

  AdamStep(const ScheduleEntry& entry, const AdamHyperparameters& hyperparameters)
      : beta1(static_cast<T>(hyperparameters.beta1)),
        one_minus_beta1(static_cast<T>(1 - hyperparameters.beta1)),
        beta2(static_cast<T>(hyperparameters.beta2)),
        one_minus_beta2(static_cast<T>(1 - hyperparameters.beta2)),
        inverse_correction1(static_cast<T>(1.0 / entry.bias_correction1)),
        inverse_correction2(static_cast<T>(1.0 / entry.bias_correction2)),
        epsilon(static_cast<T>(hyperparameters.epsilon)) {}

  // Moves the moments towards the gradient; the direction to step in, to be taken times -lr.
  T direction(T& m, T& v, T gradient) const {
    m = beta1 * m + one_minus_beta1 * gradient;
    v = beta2 * v + one_minus_beta2 * gradient * gradient;
    return m * inverse_correction1 / (std::sqrt(v * inverse_correction2) + epsilon);
  }
  // The same with a second moment that is moved already, and its denominator.
  T denominator(T v) const { return std::sqrt(v * inverse_correction2) + epsilon; }
  T direction_over(T denominator, T& m, T gradient) const {
    m = beta1 * m + one_minus_beta1 * gradient;
    return m * inverse_correction1 / denominator;
  }
};

}  // namespace memengine
