// The reference's four learning-rate schedules, as multipliers of the base learning rate:
//
//     warm-up     s / warmup                                          for s < warmup
//     constant    1, without warm-up
//     linear      (1 - p) + p r
//     inv_sqrt    max((warmup / s)^exp_factor, r)
//     cosine      r + (1 - r) / 2 (1 + sign cos(pi p^theta / cycle_length))
//
// with s = step - 1 updates done, p = (s - warmup) / (total - warmup) and r = lr_min_ratio. The
// sign of the cosine alternates from cycle to cycle. The first update of a warm-up has a learning
// rate of 0. `annealing_step` is a key of the reference that none of its schedules reads.
#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/runtime/error.h"

namespace memengine {

double schedule_multiplier(const OptimConfig& config, std::int64_t step, std::int64_t total) {
  if (config.scheduler == Scheduler::constant) return 1;
  const double done = static_cast<double>(step - 1);
  const double warmup = static_cast<double>(config.warmup);
  const double steps = static_cast<double>(total);
  if (done < warmup) return done / warmup;
  if (config.scheduler == Scheduler::inv_sqrt) {
    return std::max(std::pow(warmup, config.exp_factor) / std::pow(done, config.exp_factor),
                    config.lr_min_ratio);
  }
  if (done > steps) return config.lr_min_ratio;
  const double progress = (done - warmup) / (steps - warmup);
  if (config.scheduler == Scheduler::linear) {
    return progress * config.lr_min_ratio + (1 - progress);
  }
  const double cycle = std::floor(done / (steps * config.cycle_length));
  const double sign = std::fmod(cycle, 2) == 0 ? 1 : -1;
  const double angle =
      std::numbers::pi * std::pow(progress, config.cosine_theta) / config.cycle_length;
  return config.lr_min_ratio + 0.5 * (1 - config.lr_min_ratio) * (sign * std::cos(angle) + 1);
}

Schedule make_schedule(const OptimConfig& config, double value_learning_rate,
                       double value_weight_decay, std::int64_t total) {
  if (config.scheduler == Scheduler::inv_sqrt && config.warmup < 1) {
    fail_input(
        "optim.warmup is {}: the inv_sqrt schedule decays from the end of the warm-up, "
        "give it at least 1 step",
        config.warmup);
  }
  Schedule schedule;
  schedule.entries.resize(static_cast<std::size_t>(total) + 1);
  schedule.value_log_decay.resize(static_cast<std::size_t>(total) + 1);
  for (std::int64_t step = 1; step <= total; ++step) {
    const double multiplier = schedule_multiplier(config, step, total);
    const auto t = static_cast<std::size_t>(step);
    ScheduleEntry& entry = schedule.entries[t];
    entry.learning_rate = static_cast<float>(config.lr * multiplier);
    entry.value_learning_rate = static_cast<float>(value_learning_rate * multiplier);
    // 1 - beta^t without cancellation where beta^t is close to 1.
    const double updates = static_cast<double>(step);
    entry.bias_correction1 = static_cast<float>(-std::expm1(updates * std::log(config.beta1)));
    entry.bias_correction2 = static_cast<float>(-std::expm1(updates * std::log(config.beta2)));
    const double decay = entry.value_learning_rate * value_weight_decay;
    if (decay >= 1) {
      fail_input(
          "the value table's learning rate {} times its weight decay {} at step {} is 1 or "
          "more: every row would be erased, lower one of them",
          entry.value_learning_rate, value_weight_decay, step);
    }
    entry.value_log_keep = std::log1p(-decay);
    schedule.value_log_decay[t] = schedule.value_log_decay[t - 1] + entry.value_log_keep;
  }
  return schedule;
}

}  // namespace memengine
