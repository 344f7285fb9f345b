// The row optimizers, in terms of what they call.
#include "optim/row_optimizer.h"

#include "optim/sparse_adam.h"
#include "optim/sparse_sgd/sparse_sgd.h"

namespace memengine {
namespace {

void update_picked_rows(const Context& context, const RowGradients& rows, const UpdateState& state,
                        AdamHyperparameters hyperparameters, double, std::uint64_t seed) {
  sparse_adam(context, rows.table, rows.staged, rows.unique, rows.gradients, rows.rows_ever_used,
              state, hyperparameters, seed);
}

void descend_picked_rows(const Context& context, const RowGradients& rows, const UpdateState& state,
                         AdamHyperparameters, double, std::uint64_t) {
  sparse_sgd(context, rows.table, rows.staged, rows.unique, rows.gradients, rows.rows_ever_used,
             state);
}

void update_every_row(const Context& context, const RowGradients& rows, const UpdateState& state,
                      AdamHyperparameters hyperparameters, double weight_decay, std::uint64_t) {
  hyperparameters.weight_decay = weight_decay;
  dense_adam_rows(context, rows.table, rows.unique, rows.gradients, rows.rows_ever_used, state,
                  hyperparameters);
}

}  // namespace

const RowOptimizer sparse_adam_optimizer = {.touches_only_picked_rows = true,
                                            .decays_lazily = true,
                                            .may_be_staged = true,
                                            .update = update_picked_rows};

const RowOptimizer sparse_sgd_optimizer = {.touches_only_picked_rows = true,
                                           .decays_lazily = true,
                                           .may_be_staged = true,
                                           .update = descend_picked_rows};

const RowOptimizer dense_adamw_optimizer = {.touches_only_picked_rows = false,
                                            .decays_lazily = false,
                                            .may_be_staged = false,
                                            .update = update_every_row};

}  // namespace memengine
