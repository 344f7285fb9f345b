// The `optim` section of a config as plain data: AdamW and its learning-rate schedule.
//
// Names and defaults are the reference's (Meta Lingua). The schedule multiplies both the dense
// learning rate and the value table's own.
#pragma once

#include <cstdint>
#include <optional>

namespace memengine {

// What is done about updates whose numbers are bad (optim/update_guard.h).
struct GuardConfig {
  std::int64_t max_bad_steps = 20;  // training stops after so many bad updates in a row; 0: never
  std::int64_t spike_window =
      100;                    // updates that a spike is judged by; 0: spikes are not looked for
  double spike_zscore = 6.0;  // so many standard deviations above the window's mean
  bool skip_spikes = false;   // leave the update of a spike out
  bool operator==(const GuardConfig&) const = default;
};

enum class Scheduler { constant, linear, inv_sqrt, cosine };

struct OptimConfig {
  double lr = 3e-4;
  double weight_decay = 0.1;
  double epsilon = 1e-8;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double clip = 1.0;  // largest gradient norm of the dense parameters; 0: no clipping
  std::optional<double> value_clip;  // the same for the value table, clipped apart; null: clip
  Scheduler scheduler = Scheduler::cosine;
  std::int64_t warmup = 2000;          // steps of linear warm-up
  double lr_min_ratio = 0.1;           // final learning rate as a share of lr
  double cycle_length = 1.0;           // cosine: a cycle's length as a share of all steps
  double cosine_theta = 1.0;           // cosine: exponent on the position within a cycle
  std::int64_t annealing_step = 1000;  // accepted; none of the reference's schedules reads it
  double exp_factor = 0.5;             // inv_sqrt: exponent of the decay

  double value_clip_norm() const { return value_clip.value_or(clip); }
  bool operator==(const OptimConfig&) const = default;
};

}  // namespace memengine
