// How long a piece of work takes: warm-up, repetitions, median.
//
// On a GPU the work is recorded as a graph, several calls in a row when one is short, and timed by
// events on the stream, so that what is measured is the device's time and not the host's launches.
// That is also how a training step runs. On the CPU a steady clock does.
//
// Repeated calls find their operands in the caches as far as these reach (50 MB on an H100), as
// neighbouring layers of a step often do too.
#pragma once

#include <functional>
#include <vector>

#include "kernels/runtime/runtime.h"

namespace memengine::bench {

// The median; 0 for no values.
double median(std::vector<double> values);

// Seconds on a steady clock.
double now_seconds();

struct TimingOptions {
  int repetitions = 20;
  double seconds_per_repetition = 4e-4;  // short work is repeated to fill this
  double most_seconds = 5;               // then three repetitions are enough
};

// Median seconds of one call of `body`, which enqueues the same work on the runtime's stream every
// time. Runs it at least three times before the first measurement. Work that cannot be recorded in
// a graph says so by `recordable`.
double median_seconds(Runtime& runtime, const TimingOptions& options,
                      const std::function<void()>& body, bool recordable = true);

}  // namespace memengine::bench
