// The `optim` section of a config as plain data: AdamW and its learning-rate schedule.
//
// Names and defaults are the reference's (Meta Lingua). The schedule multiplies both the dense
// learning rate and the value table's own.
#pragma once

#include <cstdint>
#include <optional>

namespace memengine {

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
