// The last section of a report: what a reader must know of its figures, and of runs whose files are
// not whole.
#pragma once

#include <string>

#include "engine/report/comparison.h"

namespace memengine {

// HTML.
std::string report_notes(const Comparison& comparison);

}  // namespace memengine
