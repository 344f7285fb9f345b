// What both devices do about one update once the window's means and deviations are known.
#pragma once

#include <cmath>

#include "kernels/runtime/bfloat16.h"
#include "optim/update_guard.h"

namespace memengine {

// Why an update may not be applied, if so.
enum class GuardVerdict { apply, leave_out };

struct GuardLimits {
  std::int64_t window;
  double zscore;
  bool skip_spikes;
};

// What a window keeps of a figure: the loss itself, a norm's logarithm.
MEMENGINE_HOST_DEVICE inline double guard_score(int figure, double value) {
  return figure == 0 ? value : log(value > 1e-300 ? value : 1e-300);
}

// Everything but the sums over the window: means[3] and deviations[3] are of the scores in it, and
// count only when it is full.
MEMENGINE_HOST_DEVICE inline GuardVerdict guard_decide(GuardState& state, double* window,
                                                       std::int64_t step, const double* figures,
                                                       const double* means,
                                                       const double* deviations,
                                                       const GuardLimits& limits) {
  state.step = step;
  bool finite = true;
  for (int i = 0; i < 3; ++i) {
    state.figures[i] = figures[i];
    state.zscores[i] = 0;
    finite = finite && figures[i] - figures[i] == 0;
  }
  if (!finite) {
    ++state.bad_updates;
    if (++state.bad_in_a_row == 1) state.first_bad_step = step;
    return GuardVerdict::leave_out;
  }
  state.bad_in_a_row = 0;
  if (limits.window == 0) return GuardVerdict::apply;
  bool spike = false;
  for (int i = 0; i < 3; ++i) {
    const double score = guard_score(i, figures[i]);
    if (state.seen >= limits.window) {
      const double deviation = deviations[i] > 0.01 ? deviations[i] : 0.01;
      state.zscores[i] = (score - means[i]) / deviation;
      spike = spike || state.zscores[i] > limits.zscore;
    }
    window[i * limits.window + state.seen % limits.window] = score;
  }
  ++state.seen;
  if (!spike) return GuardVerdict::apply;
  ++state.spikes;
  state.last_spike_step = step;
  if (!limits.skip_spikes) return GuardVerdict::apply;
  ++state.skipped_spikes;
  return GuardVerdict::leave_out;
}

}  // namespace memengine
