// `memengine report`: one HTML file about one run or many.
#pragma once

#include <string>
#include <vector>

#include "engine/report/comparison.h"

namespace memengine {

// At most so many groups are drawn, those of the lowest loss; the tables have them all.
inline constexpr std::size_t most_drawn = 40;

// A whole page (page.h).
std::string report_html(const Comparison& comparison);

// Points of a curve that are drawn, by the number of runs: a page stays small enough to be mailed.
std::size_t drawn_points(std::size_t runs);

}  // namespace memengine
