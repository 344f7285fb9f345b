// Learning-rate schedules, and the table of everything about a step that is known in advance.
//
// The schedule is a pure function of the step, so it is computed once, for all steps, and lies in
// device memory: kernels read entry `step` there, and a step launched as a CUDA graph needs no new
// arguments.
#pragma once

#include <cstdint>
#include <vector>

#include "optim/optim_config.h"

namespace memengine {

// Entry t holds what update t (1-based) uses; entry 0 is "before training".
struct ScheduleEntry {
  float learning_rate = 0;
  float value_learning_rate = 0;
  float bias_correction1 = 1;  // 1 - beta1^t
  float bias_correction2 = 1;  // 1 - beta2^t
  double value_log_keep = 0;   // log(1 - value_learning_rate * decay): what decay leaves of a row
};

// Multiplier of the base learning rate at update `step` (1-based, of `total` steps), as the
// reference (Meta Lingua) computes it for step - 1 of its LambdaLR.
double schedule_multiplier(const OptimConfig& config, std::int64_t step, std::int64_t total);

struct Schedule {
  std::vector<ScheduleEntry> entries;  // [total + 1]
  // [total + 1]: sum of value_log_keep over s <= t, which is what decays when no update is left
  // out.
  std::vector<double> value_log_decay;
};

// `value_learning_rate` and `value_weight_decay` are those of the memory layers' tables.
Schedule make_schedule(const OptimConfig& config, double value_learning_rate,
                       double value_weight_decay, std::int64_t total);

}  // namespace memengine
