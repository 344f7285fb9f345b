// What the optimizers' kernels read beside gradients: a schedule, the step, the clipping factors.
#pragma once

#include "engine/bench/ops/workbench.h"
#include "optim/adamw.h"

namespace memengine::bench {

// At the first update of a constant schedule without clipping. Lives until bench.clear().
UpdateState update_state(Workbench& bench);

}  // namespace memengine::bench
