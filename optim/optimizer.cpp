// The parts of one update.
#include "optim/optimizer.h"

#include <algorithm>

#include "kernels/reduce.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

void Optimizer::measure_dense(const Context& context, Tensor gradients, std::int64_t later,
                              const std::function<void()>& await) const {
  const std::int64_t count = gradients.size();
  const bool in_parts = 0 < later && later < count;
  if (in_parts) square_sum(context, dense_parts_.rows(1, 1), gradients.rows(later, count - later));
  await();
  if (in_parts) {
    square_sum(context, dense_parts_.rows(0, 1), gradients.rows(0, later));
    sum(context, dense_square_sum_, dense_parts_, 1.0);
  } else if (count > 0) {
    square_sum(context, dense_square_sum_, gradients);
  } else {
    fill_zero(context, dense_square_sum_);
  }
  clip_scale(context, state_.dense_scale, dense_norm_, dense_square_sum_, settings_.config.clip);
}

// The norm is that of all tables together, of all ranks' parts.
void Optimizer::measure_rows(const Context& context, std::span<const RowGradients> tables) const {
  for (std::size_t i = 0; i < tables.size(); ++i) {
    copy_bytes(context, table_square_sums_.rows(static_cast<std::int64_t>(i), 1).data(),
               tables[i].square_sum.data(), sizeof(double));
  }
  sum(context, value_square_sum_, table_square_sums_, 1.0);
  {
    const ExchangePurpose purpose(*context.communicator, "norm of row gradients");
    context.communicator->all_reduce_sum(context, value_square_sum_);
  }
  clip_scale(context, state_.value_scale, value_norm_, value_square_sum_,
             settings_.config.value_clip_norm());
}

void Optimizer::guard_step(const Context& context) const {
  if (loss_.empty()) return;
  guard_update(context, guard_, loss_, dense_norm_, settings_.tables == 0 ? Tensor() : value_norm_,
               state_, settings_.guard);
}

void Optimizer::update_dense(const Context& context, const DenseParameters& dense) const {
  const std::int64_t count = first_moment_.size();
  if (count == 0) return;
  const auto here = [&](const Tensor& block) {
    return block.empty() ? block : block.rows(first_parameter(), count);
  };
  adamw(context, here(dense.values), here(dense.compute), first_moment_, second_moment_,
        here(dense.gradients), state_, hyperparameters_);
}

void Optimizer::update_rows(const Context& context, std::span<const RowGradients> tables) const {
  for (const RowGradients& rows : tables) {
    settings_.rows->update(context, rows, state_, hyperparameters_, settings_.value_weight_decay,
                           settings_.seed);
  }
}

void Optimizer::count_step(const Context& context) const {
  advance_step(context, state_);
}

Optimizer::Optimizer(const OptimizerSettings& settings, std::int64_t parameters, DType dtype,
                     Arena& arena)
    : settings_(settings),
      hyperparameters_{settings.config.beta1, settings.config.beta2, settings.config.epsilon,
                       settings.config.weight_decay},
      schedule_(make_schedule(settings.config, settings.value_learning_rate,
                              settings.rows->decays_lazily ? settings.value_weight_decay : 0,
                              settings.total_steps)) {
  const auto entries = static_cast<std::int64_t>(schedule_.entries.size());
  const auto allocate = [&](DType type, std::int64_t count) {
    return arena.allocate("optimizer", type, {count});
  };
  state_.schedule = allocate(DType::u8, entries * static_cast<std::int64_t>(sizeof(ScheduleEntry)));
  state_.log_decay = allocate(DType::f64, entries);
  state_.step = allocate(DType::i32, 1);
  state_.dense_scale = allocate(DType::f32, 1);
  state_.value_scale = allocate(DType::f32, 1);
  first_moment_ = allocate(dtype, parameters);
  second_moment_ = allocate(dtype, parameters);
  dense_square_sum_ = allocate(DType::f64, 1);
  dense_parts_ = allocate(DType::f64, 2);
  value_square_sum_ = allocate(DType::f64, 1);
  table_square_sums_ = allocate(DType::f64, std::max<std::int64_t>(settings.tables, 1));
  dense_norm_ = allocate(DType::f64, 1);
  value_norm_ = allocate(DType::f64, 1);
  guard_.state = allocate(DType::u8, sizeof(GuardState));
  if (settings.guard.spike_window > 0) {
    guard_.window = arena.allocate("optimizer", DType::f64, {3, settings.guard.spike_window});
  }
}

void Optimizer::initialize(const Context& context) const {
  copy_bytes(context, state_.schedule.data(), schedule_.entries.data(), state_.schedule.bytes());
}

bool Optimizer::rows_decay() const {
  return settings_.rows->decays_lazily && settings_.value_weight_decay != 0;
}

LazyDecay Optimizer::row_decay() const {
  if (!rows_decay()) return {};
  return {state_.log_decay, state_.step};
}

Tensor Optimizer::past_decay(const Context& context) const {
  if (!rows_decay()) return {};
  std::int32_t step = 0;
  copy_bytes(context, &step, state_.step.data(), sizeof step);
  return state_.log_decay.rows(0, step + 1);
}

void Optimizer::restore_decay(const Context& context, std::span<const double> past,
                              const std::string& where) const {
  if (!rows_decay()) {
    if (past.back() == 0) return;
    fail_input(
        "{}: its value rows still owe the decay of updates that did not touch them, which is never "
        "applied with value_weight_decay=0 or value_optimizer=dense_adamw: keep "
        "model.productkey_args.value_optimizer=sparse_adam and a value_weight_decay above 0, "
        "however small",
        where);
  }
  // A run that was already longer than it shall be now trains no more.
  const auto count = std::min(static_cast<std::int64_t>(past.size()), state_.log_decay.size());
  copy_bytes(context, state_.log_decay.data(), past.data(),
             count * static_cast<std::int64_t>(sizeof(double)));
}

}  // namespace memengine
