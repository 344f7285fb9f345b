// Whole steps: how long they take, and how long the guard of the updates takes of that.
#include "engine/bench/steps.h"

#include <algorithm>
#include <vector>

#include "engine/bench/timing.h"
#include "engine/bench/training_loop.h"
#include "engine/training/usage.h"

namespace memengine::bench {
namespace {

constexpr int guard_rounds = 10;  // of steps with and without the guard in turns

// The machine's speed drifts, and so does the number of rows that a step uses: the two kinds of
// steps take turns, and each is first as often as the other.
void measure_guard(StepResult& result, TrainingLoop& loop, const StepOptions& options) {
  std::vector<double> seconds[2];
  loop.run(std::max(options.warm_up, 3), false);
  for (int round = 0; round < guard_rounds; ++round) {
    for (int turn = 0; turn < 2; ++turn) {
      const bool guarded = (round + turn) % 2 == 0;
      const std::vector<double> block = loop.run(options.steps / 2 + 1, guarded);
      // The first of a block waits for nothing that ran before it.
      seconds[guarded ? 1 : 0].insert(seconds[guarded ? 1 : 0].end(), block.begin() + 1,
                                      block.end());
    }
  }
  result.seconds_guarded = median(seconds[1]);
  result.seconds_unguarded = median(seconds[0]);
}

void measure(StepResult& result, RunConfig config, Device device, const StepOptions& options,
             const std::function<void()>& meanwhile) {
  const int steps = options.warm_up + options.steps;
  const int guard_steps =
      options.guards ? options.warm_up + 3 + 2 * guard_rounds * (options.steps / 2 + 1) : 0;
  config.steps = std::max<std::int64_t>(config.steps, steps + guard_steps);
  const std::int64_t free_before = free_memory_bytes(device);
  const double begin = now_seconds();
  TrainingLoop loop(config, device, options.data);
  result.seconds_to_start = now_seconds() - begin;
  const std::vector<double> seconds = loop.run(steps);
  read_steps(result, loop, config, options.warm_up, seconds);
  if (device == Device::cuda) result.device_bytes_taken = free_before - free_memory_bytes(device);
  if (meanwhile) meanwhile();
  if (options.guards) measure_guard(result, loop, options);
}

}  // namespace

void read_steps(StepResult& result, TrainingLoop& loop, const RunConfig& config, int warm_up,
                const std::vector<double>& seconds) {
  const TrainingModel& model = loop.model();
  Runtime& runtime = loop.runtime();
  result.tokens = config.tokens_per_step();
  result.flops_per_token =
      static_cast<double>(loop.model().transformer().training_flops_per_token());
  result.device_bytes = model.memory_plan().device_bytes();
  result.host_bytes = model.memory_plan().host_bytes();
  result.seconds = median({seconds.begin() + warm_up, seconds.end()});
  copy_bytes(runtime.context(), &result.loss, loop.buffers().loss().data(), sizeof(double));
  runtime.synchronize();
  std::int64_t cached = 0;
  for (const BankUsage& usage : step_usage(runtime, loop.model().transformer())) {
    result.picks += usage.picks;
    result.unique_rows += usage.unique_rows;
    if (!usage.cache) continue;
    cached += usage.cache->found;
    result.link_bytes += usage.cache->link_bytes;
  }
  if (result.unique_rows > 0) {
    result.cache_hit_share = static_cast<double>(cached) / static_cast<double>(result.unique_rows);
  }
}

StepResult bench_step(const BenchCase& bench_case, Device device, const StepOptions& options,
                      const std::function<void()>& meanwhile) {
  StepResult result;
  result.bench_case = bench_case.name;
  try {
    measure(result, bench_case.config, device, options, meanwhile);
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    result = {};
    result.bench_case = bench_case.name;
    result.failure = error.what();
  }
  return result;
}

}  // namespace memengine::bench
