// The words that training prints about itself, on a terminal and in train.log alike.
//
// A step's line is made of columns, each of which knows how much it matters, so that a narrow
// window shows loss and time left where a wide one shows everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/training/training_listener.h"

namespace memengine {

struct LineColumn {
  std::string text;
  int importance = 0;  // the least goes first; never_dropped stays
};
inline constexpr int never_dropped = 100;

// The columns, two spaces between them, in at most `width` characters of a terminal: the least
// important are left out until the rest fits, of equals the rightmost first. Width 0: all of them.
std::string fit_columns(std::vector<LineColumn> columns, std::size_t width);

// No newline at the end.
std::string start_text(const RunConfig& config, const RunStart& start);  // several lines
std::vector<LineColumn> step_columns(const StepReport& report);
std::string step_line(const StepReport& report);  // all columns
std::string validation_line(const ValidationReport& report);
std::string save_line(const SaveReport& report);

// "layer 12" of the table "layers.12.feed_forward.values.weight"; PEER's two tables of one layer
// are "layer 12 u" and "layer 12 v".
std::string table_title(const std::string& name);

// "12.3k", "4.56M".
std::string count_text(double count);
// "1h 02m", "3m 10s", "12s".
std::string duration_text(double seconds);
// "12.3%"; "-" where the whole is nothing.
std::string percent_text(double part, double whole);

}  // namespace memengine
