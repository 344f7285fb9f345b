// Adam on the touched rows of a value table (after PyTorch's SparseAdam), and the reference's dense
// variant to compare with.
//
// Sparse: a row's moments and weights change only in steps whose batch picks it; bias correction
// uses the global step. Weight decay is lazy but exact: a row carries the step of its last update,
// and the decay of the steps it missed is applied when it is next read or updated (LazyDecay), so
// that it equals decaying every row at every step.
#pragma once

#include "kernels/table/staged_rows/staged_rows.h"
#include "kernels/table/value_rows.h"
#include "optim/adamw.h"

namespace memengine {

// For each u < unique.count, with g = row_gradients[u] * state.value_scale and t = state.step + 1:
//   w = (hi + lo) * exp(log_decay[t - 1] + value_log_keep[t] - log_decay[last_step])
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w -= value_lr (m / bc1) / (sqrt(v / bc2) + epsilon);  last_step = t
// A table whose layout has one second moment for the row takes the mean of g^2 over the row for g^2
// (as Adafactor's row statistics, Shazeer and Stern 2018; 8 of 28 bytes of traffic less).
// row_gradients [capacity, v_dim] f32 (or f64, CPU only; state is kept in f32 all the same). BF16
// moments are rounded stochastically from (seed, row, t), with the row's number in the whole table.
// rows_ever_used [1] i32 += rows whose last_step was 0. A NaN scale leaves all as it is.
// hyperparameters.weight_decay is not used: the decay is in state.log_decay and in the schedule.
//
// Rows that exchange_rows() has brought into `staged` for this list
// (kernels/table/staged_rows/staged_rows.h) are updated there and not in the table, with the same
// result. No capacity: all in the table.
void sparse_adam(const Context& context, const ValueRows& table, const StagedRows& staged,
                 const UniqueRows& unique, Tensor row_gradients, Tensor rows_ever_used,
                 const UpdateState& state, const AdamHyperparameters& hyperparameters,
                 std::uint64_t seed);

// AdamW on every row of the table, with gradient 0 for rows outside `unique`: what the reference
// does; with one second moment for each number only. Reads and writes the whole table.
// hyperparameters.weight_decay is applied at every step.
void dense_adam_rows(const Context& context, const ValueRows& table, const UniqueRows& unique,
                     Tensor row_gradients, Tensor rows_ever_used, const UpdateState& state,
                     const AdamHyperparameters& hyperparameters);

namespace cuda {
decltype(memengine::sparse_adam) sparse_adam;
decltype(memengine::dense_adam_rows) dense_adam_rows;
}  // namespace cuda

}  // namespace memengine
