// Whole training steps, on random tokens or on shards: no reports, no checkpoints, only the model
// and its update.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/bench/cases.h"
#include "engine/bench/results.h"
#include "engine/bench/training_loop.h"

namespace memengine::bench {

struct StepOptions {
  std::string data;  // a folder of token shards; empty: random tokens
  int warm_up = 5;
  int steps = 20;
  bool guards = false;  // also measure steps without the guard of the updates
};

// Builds the case's model on the device, trains `warm_up` + `steps` steps as the trainer does
// (a graph on a GPU, unless the config says cuda_graph: false), and gives everything back. The
// time is the median over the last `steps`. A model that does not fit is told in `failure`.
// `meanwhile` is called after the steps, while the model is still there.
StepResult bench_step(const BenchCase& bench_case, Device device, const StepOptions& options,
                      const std::function<void()>& meanwhile = {});

// What a loop that has just trained `steps` steps, of `seconds` each, tells of them: all but
// `bench_case` and what is there before the first.
void read_steps(StepResult& result, TrainingLoop& loop, const RunConfig& config, int warm_up,
                const std::vector<double>& seconds);

}  // namespace memengine::bench
