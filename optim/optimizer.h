// The update of a step: two gradient norms, two clips, AdamW beside sparse Adam.
//
// Dense parameters and value rows are clipped apart, as the reference does, and follow the same
// schedule from different base learning rates; the two may be measured and updated on two streams.
// Everything that changes from step to step lies in device memory, so one step
// is the same sequence of launches as the next.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/runtime/memory/arena.h"
#include "optim/optim_config.h"
#include "optim/row_optimizer.h"
#include "optim/schedule.h"
#include "optim/update_guard.h"

namespace memengine {

// The dense parameters as flat blocks [n] (ParameterStore).
struct DenseParameters {
  Tensor values, compute, gradients;
};

struct OptimizerSettings {
  OptimConfig config;
  GuardConfig guard;
  double value_learning_rate = 1e-3;
  double value_weight_decay = 0;
  const RowOptimizer* rows = &sparse_adam_optimizer;
  std::int64_t total_steps = 0;
  std::int64_t tables = 0;
  std::uint64_t seed = 0;
  // Of several ranks, each has the moments of a part of the flat blocks and updates that part: the
  // number it begins with. Empty: all is here.
  std::optional<std::int64_t> first_parameter;
};

class Optimizer {
 public:
  // `parameters` is the length of the flat blocks, or of the part of them that is updated here,
  // `dtype` that of the master weights.
  Optimizer(const OptimizerSettings& settings, std::int64_t parameters, DType dtype, Arena& arena);

  // Uploads the schedule. Moments and past decay are zero already (arenas are).
  void initialize(const Context& context) const;

  // One update. The norms and clipping factors of both kinds of gradients (the dense ones are the
  // same on every rank, the rows those that a rank owns: their norm is summed over ranks); then
  // whether the update is applied at all; then the updates; then step += 1. Gradients are left as
  // they are; the caller zeroes them before the next step.
  // The first `later` gradients are there once `await` has made the context's stream wait for them:
  // the others are measured before.
  void measure_dense(
      const Context& context, Tensor gradients, std::int64_t later = 0,
      const std::function<void()>& await = [] {}) const;
  void measure_rows(const Context& context, std::span<const RowGradients> tables) const;
  void guard_step(const Context& context) const;
  void update_dense(const Context& context, const DenseParameters& dense) const;
  void update_rows(const Context& context, std::span<const RowGradients> tables) const;
  void count_step(const Context& context) const;

  // The loss of the step, f64 [1], that guard_step() then looks at together with the gradient norms
  // (update_guard.h). Without it bad norms still leave their own update out, uncounted.
  void watch(Tensor loss) { loss_ = loss; }

  // Lazy decay of the rows, for the forward pass; empty when rows do not decay.
  LazyDecay row_decay() const;

  // What has decayed in each update so far, f64 [steps done + 1]; empty when rows do not decay. It
  // is state, not plan: after a resume with other learning rates it cannot be computed again.
  Tensor past_decay(const Context& context) const;
  // The past of a resumed run, from update 0 on, not empty. Input error where rows of it still have
  // decay to come that this optimizer would never apply; `where` they are of, for its message.
  void restore_decay(const Context& context, std::span<const double> past,
                     const std::string& where) const;

  // Of the last step, before clipping: f64 [1].
  Tensor dense_norm() const { return dense_norm_; }
  Tensor value_norm() const { return value_norm_; }

  // For checkpoints and logs. Moments are those of the numbers from first_parameter() on.
  bool is_part() const { return settings_.first_parameter.has_value(); }
  std::int64_t first_parameter() const { return settings_.first_parameter.value_or(0); }
  Tensor first_moment() const { return first_moment_; }    // [n]
  Tensor second_moment() const { return second_moment_; }  // [n]
  Tensor steps_done() const { return state_.step; }        // i32 [1]
  const GuardTensors& guard() const { return guard_; }
  const ScheduleEntry& entry(std::int64_t step) const {
    return schedule_.entries[static_cast<std::size_t>(step)];
  }

 private:
  bool rows_decay() const;  // lazily

  OptimizerSettings settings_;
  AdamHyperparameters hyperparameters_;
  Schedule schedule_;
  UpdateState state_;
  Tensor first_moment_, second_moment_;
  Tensor dense_square_sum_, value_square_sum_;  // f64 [1]
  Tensor dense_parts_;                          // f64 [2], of dense_square_sum_
  Tensor table_square_sums_;                    // f64 [tables]
  Tensor dense_norm_, value_norm_;
  Tensor loss_;
  GuardTensors guard_;
};

}  // namespace memengine
