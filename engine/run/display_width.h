// How much of a terminal's line a text fills.
#pragma once

#include <cstddef>
#include <string>

namespace memengine {

// Columns of a terminal that a text of one line fills: East Asian wide characters take two,
// combining marks none. What is not valid UTF-8 counts as the U+FFFD that it is shown as.
std::size_t display_width(const std::string& text);

// A line's beginning that fills at most `width` columns; one that is cut ends in "…". Width 0 is
// any.
std::string fit_text(const std::string& text, std::size_t width);

}  // namespace memengine
