// Plain gradient descent on the touched rows of a value table.
//
// Sparse memory finetuning (arXiv 2510.15103) forgets less with it than with Adam: a step is as
// long as its gradient, where Adam moves a row that is seldom picked as far as one that is picked
// every time. It keeps no moments, so a row's record is its lower halves and the step of its last
// update (RecordLayout::has_moments).
#pragma once

#include "kernels/table/staged_rows/staged_rows.h"
#include "kernels/table/value_rows.h"
#include "optim/adamw.h"

namespace memengine {

// For each u < unique.count, with g = row_gradients[u] * state.value_scale and t = state.step + 1:
//   w = (hi + lo) * exp(log_decay[t - 1] + value_log_keep[t] - log_decay[last_step]) - value_lr g
//   last_step = t
// Dtypes, `staged`, rows_ever_used and a NaN scale as in optim/sparse_adam.h. The table has no
// moments.
void sparse_sgd(const Context& context, const ValueRows& table, const StagedRows& staged,
                const UniqueRows& unique, Tensor row_gradients, Tensor rows_ever_used,
                const UpdateState& state);

namespace cuda {
decltype(memengine::sparse_sgd) sparse_sgd;
}  // namespace cuda

}  // namespace memengine
