// The stopwatch of both devices.
#include "engine/bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "kernels/runtime/step_graph.h"

namespace memengine::bench {
namespace {

constexpr double most_calls = 200;  // in one graph

// Seconds of one call of `body`, measured once.
double seconds_of(Runtime& runtime, const std::function<void()>& body) {
  if (!runtime.context().on_cuda()) {
    const double begin = now_seconds();
    body();
    return now_seconds() - begin;
  }
  StreamMarker first, last;
  first.record(runtime.context());
  body();
  last.record(runtime.context());
  return first.seconds_until(last);
}

}  // namespace

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double median_seconds(Runtime& runtime, const TimingOptions& options,
                      const std::function<void()>& body, bool recordable) {
  body();  // libraries choose their algorithms and load code
  runtime.synchronize();
  const double once = std::max(seconds_of(runtime, body), 1e-7);
  const auto calls = static_cast<int>(
      std::clamp(std::ceil(options.seconds_per_repetition / once), 1.0, most_calls));
  const auto repeated = [&] {
    for (int call = 0; call < calls; ++call) body();
  };
  StepGraph graph;
  const auto run = [&] { graph.run(runtime.context(), recordable, repeated); };
  run();  // plainly
  run();  // recorded
  runtime.synchronize();
  const double begin = now_seconds();
  std::vector<double> seconds;
  for (int repetition = 0; repetition < options.repetitions; ++repetition) {
    if (repetition >= 3 && now_seconds() - begin > options.most_seconds) break;
    seconds.push_back(seconds_of(runtime, run) / calls);
  }
  runtime.synchronize();
  return median(std::move(seconds));
}

}  // namespace memengine::bench
