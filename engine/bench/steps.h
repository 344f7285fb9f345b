// Whole training steps on random tokens: no data, no files, only the model and its update.
#pragma once

#include "engine/bench/cases.h"
#include "engine/bench/results.h"

namespace memengine::bench {

// Builds the case's model on the device, trains `warm_up` + `steps` steps as the trainer does
// (a graph on a GPU, unless the config says cuda_graph: false), and gives everything back. The
// time is the median over the last `steps`. A model that does not fit is told in `failure`.
StepResult bench_step(const BenchCase& bench_case, Device device, int warm_up, int steps);

}  // namespace memengine::bench
