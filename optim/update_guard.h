// Bad numbers: whether an update may be applied, decided on the device from three figures.
//
// When a step's loss, the norm of its dense gradients and that of its row gradients are known, and
// before anything is updated, they are looked at. A figure that is not finite makes the update bad:
// both clipping scales become NaN, which makes every optimizer leave everything as it is. Otherwise
// each figure is compared with the same figure of the last `window` updates: more than `zscore`
// standard deviations above their mean is a spike, which is counted and, if wanted, left out
// likewise. Norms are compared by their logarithm, because they are positive and skewed, and a
// deviation counts as 0.01 at least, so that a flat window does not make noise a spike.
//
// One small kernel a step; the host reads the state when it likes to.
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"
#include "optim/adamw.h"
#include "optim/optim_config.h"

namespace memengine {

// What the guard has seen; lies in device memory and in checkpoints. Steps are numbers of updates,
// from 1.
struct GuardState {
  std::int64_t step = 0;            // of the last update looked at
  std::int64_t bad_updates = 0;     // skipped because a figure was not finite, since the start
  std::int64_t bad_in_a_row = 0;    // up to and including this step
  std::int64_t first_bad_step = 0;  // where that row began
  std::int64_t spikes = 0;          // since the start, skipped or not
  std::int64_t skipped_spikes = 0;
  std::int64_t last_spike_step = 0;
  std::int64_t seen = 0;   // updates in the window so far, at most its length counts
  double figures[3] = {};  // of this step: loss, dense norm, value norm
  double zscores[3] = {};  // of this step; 0 while the window is not full
};

inline constexpr const char* guard_figure_names[3] = {"loss", "gradient norm",
                                                      "gradient norm of the value table"};

struct GuardTensors {
  Tensor state;   // u8 [sizeof(GuardState)]
  Tensor window;  // f64 [3, window]; empty: no spikes are looked for
};

// Looks at update state.step + 1. loss, dense_norm, value_norm: f64 [1]; value_norm is empty where
// there is no table. Updates `guard`; sets both scales of `update` to NaN where the update must be
// left out.
void guard_update(const Context& context, const GuardTensors& guard, Tensor loss, Tensor dense_norm,
                  Tensor value_norm, const UpdateState& update, const GuardConfig& config);

namespace cuda {
decltype(memengine::guard_update) guard_update;
}  // namespace cuda

}  // namespace memengine
