// How the rows of a value table are updated, as one type: whoever plans memory, stages rows, saves
// increments or reads rows asks for a property, never for a name.
#pragma once

#include <cstdint>

#include "kernels/table/staged_rows/staged_rows.h"
#include "kernels/table/value_rows.h"
#include "optim/adamw.h"

namespace memengine {

// One value table and the gradients of the rows that the step touched.
struct RowGradients {
  ValueRows table;
  StagedRows staged;  // where some of the rows are; no capacity: none
  UniqueRows unique;
  Tensor gradients;       // [capacity, v_dim]
  Tensor square_sum;      // f64 [1]: of the gradients of all rows of `unique`
  Tensor rows_ever_used;  // i32 [1]
};

struct RowOptimizer {
  // Rows that no lookup of the step picked stay as they are, so a checkpoint can hold those alone
  // that were picked since the one before. Otherwise a step reads and writes the whole table.
  bool touches_only_picked_rows = true;
  // A row's weight decay is due when it is next read or updated (LazyDecay). Otherwise the update
  // applies it.
  bool decays_lazily = true;
  // Rows may be updated in GPU memory and stay there (kernels/table/staged_rows/staged_rows.h).
  bool may_be_staged = true;

  // One update of one table. `weight_decay` is that of the rows; one that is lazy is in
  // state.log_decay already. Errors and effects as in sparse_adam.h.
  void (*update)(const Context& context, const RowGradients& rows, const UpdateState& state,
                 AdamHyperparameters hyperparameters, double weight_decay,
                 std::uint64_t seed) = nullptr;

  // What an update reads, and writes again, of one row.
  static constexpr std::int64_t bytes_per_row(const RecordLayout& layout) {
    return 2 * layout.v_dim + layout.bytes();
  }
};

extern const RowOptimizer sparse_adam_optimizer;  // only what was picked
extern const RowOptimizer sparse_sgd_optimizer;   // the same by plain descent, without moments
extern const RowOptimizer dense_adamw_optimizer;  // every row at every step: the reference's

}  // namespace memengine
