// The curve of a group: the mean over its runs, with a band of one standard error.
#pragma once

#include <string>

#include "engine/report/comparison.h"
#include "engine/report/svg.h"

namespace memengine {

enum class RunAxis { step, tokens, seconds, flops };

double along(const RunPlace& place, RunAxis axis);

// Metric `key` of a group against an axis. Of one run: its curve. Of several: between their points
// each is taken to be straight; the mean reaches as far as the shortest run does. No points where
// no run of the group has the metric.
ChartSeries group_curve(const RunGroup& group, const std::string& key, RunAxis axis);

}  // namespace memengine
