// One update, top to bottom.
#include "optim/optimizer.h"

#include <algorithm>

#include "engine/runtime/communicator.h"
#include "engine/runtime/runtime.h"
#include "kernels/reduce.h"

namespace memengine {

void Optimizer::step(const Context& context, const DenseParameters& dense,
                     std::span<const RowGradients> tables) const {
  // Norms of both kinds of gradients, and the factors that clip them.
  square_sum(context, square_sum_, dense.gradients);
  clip_scale(context, state_.dense_scale, dense_norm_, square_sum_, settings_.config.clip);
  if (!tables.empty()) {
    for (std::size_t i = 0; i < tables.size(); ++i) {
      square_sum_rows(context, table_square_sums_.rows(static_cast<std::int64_t>(i), 1),
                      tables[i].gradients, tables[i].unique.count);
    }
    sum(context, square_sum_, table_square_sums_, 1.0);
    clip_scale(context, state_.value_scale, value_norm_, square_sum_,
               settings_.config.value_clip_norm());
  }

  if (!loss_.empty()) {
    guard_update(context, guard_, loss_, dense_norm_, tables.empty() ? Tensor() : value_norm_,
                 state_, settings_.guard);
  }

  // Updates: all dense parameters, then only the touched rows of each table.
  adamw(context, dense.values, dense.compute, first_moment_, second_moment_, dense.gradients,
        state_, hyperparameters_);
  for (const RowGradients& rows : tables) {
    if (settings_.dense_rows) {
      AdamHyperparameters row_hyperparameters = hyperparameters_;
      row_hyperparameters.weight_decay = settings_.value_weight_decay;
      dense_adam_rows(context, rows.table, rows.unique, rows.gradients, rows.rows_ever_used, state_,
                      row_hyperparameters);
    } else {
      sparse_adam(context, rows.table, rows.unique, rows.gradients, rows.rows_ever_used, state_,
                  hyperparameters_, settings_.seed);
    }
  }
  advance_step(context, state_.step);
}

Optimizer::Optimizer(const OptimizerSettings& settings, std::int64_t parameters, DType dtype,
                     Arena& arena)
    : settings_(settings),
      hyperparameters_{settings.config.beta1, settings.config.beta2, settings.config.epsilon,
                       settings.config.weight_decay},
      schedule_(make_schedule(settings.config, settings.value_learning_rate,
                              settings.dense_rows ? 0 : settings.value_weight_decay,
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
  square_sum_ = allocate(DType::f64, 1);
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
  copy_bytes(context, state_.log_decay.data(), schedule_.value_log_decay.data(),
             state_.log_decay.bytes());
}

LazyDecay Optimizer::row_decay() const {
  if (settings_.dense_rows || settings_.value_weight_decay == 0) return {};
  return {state_.log_decay, state_.step};
}

}  // namespace memengine
