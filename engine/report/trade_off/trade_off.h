// One evaluation result against another: what is gained for what is lost. The x axis is the first
// metric of the task that the config lists first, each picture's y axis that of another task; a
// labelled point per setting, with the evaluations before it as a line that leads there.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/report/comparison.h"

namespace memengine {

// HTML figures; `drawn` are the groups in the order of their colours. Of one task, or where no two
// settings have a result of both tasks: "". At most eight pictures.
std::string trade_off_charts(const Comparison& comparison, const std::vector<std::size_t>& drawn);

// What every setting came to for its seconds and FLOPs of training: the validation loss, and the
// first task's first metric. Of more than sixteen settings those alone are labelled than which none
// is better for as little. "" where no two settings differ in what they took.
std::string cost_charts(const Comparison& comparison, const std::vector<std::size_t>& drawn);

}  // namespace memengine
