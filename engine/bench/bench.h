// `memengine bench`: what the machine can do, what the ops reach of it, how fast training is.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/bench/results.h"
#include "kernels/runtime/context.h"

namespace memengine::bench {

struct BenchOptions {
  Device device = Device::cpu;
  // What to do. Ceilings that ops are judged by are measured in any case.
  bool ceilings = false;  // all ceilings, the link's gathers included
  bool ops = false;
  bool steps = false;
  bool decode = false;               // generation
  std::vector<std::string> ladders;  // names (ladders/ladder.h)
  // Ops and step of each of these cases, and the costliest ops of the step.
  std::vector<std::string> profiled;

  std::vector<std::string> cases;      // for ops, steps and decode; empty: the device's own
  std::string config;                  // a config of one's own as one more case, or as the only
                                       // one; its name is the file's without .yaml
  std::vector<std::string> overrides;  // of that config: a.b.c=value
  std::string config_folder = "configs";

  std::string data;     // a folder of token shards for the steps; empty: random tokens
  int warm_up = 5;      // steps before those that are measured
  bool guards = false;  // also what the guard of the updates costs a step

  bool quick = false;  // fewer repetitions, smaller sizes
  double table_gib = 32;
  // A record (--json) of another commit: what changed since is told at the end.
  std::string against;
  std::string json_path;  // rewritten after every case, so that a stopped run leaves what it had
};

// Input errors: overrides without a config, numbers out of range, data that is not there.
void check_bench_options(const BenchOptions& options);

// Hands every finished line of text to `say`. Input errors: an unknown case or config, overrides
// without a config, nothing to do.
Results run_bench(const BenchOptions& options, const std::function<void(const std::string&)>& say);

}  // namespace memengine::bench
