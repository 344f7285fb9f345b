// Runs side by side: which belong together, their final figures, and in which config keys they
// differ.
#pragma once

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engine/report/run_record.h"

namespace memengine {

// Runs that differ in their seed alone (keys seed and data.seed; a part like "-seed3" or "_s3" of
// the name) are one group, in the order of the first of each.
struct RunGroup {
  std::string title;  // the name without its seed; with the folder where two groups have one name
  std::vector<const RunRecord*> runs;
};
std::vector<RunGroup> group_runs(const std::vector<RunRecord>& records);

// A mean over the runs of a group.
struct Figure {
  double mean = std::numeric_limits<double>::quiet_NaN();
  double error = std::numeric_limits<double>::quiet_NaN();  // standard error; NaN for one run
  std::size_t count = 0;                                    // runs that have it
};
// Of the values that are finite.
Figure figure_of(const std::vector<double>& values);

enum class FigureForm { count, loss, seconds, share, ratio, plain };

struct ComparisonColumn {
  std::string key;    // of CSV and JSON: "val_loss"
  std::string title;  // "validation loss"
  FigureForm form = FigureForm::plain;
  int importance = 0;  // the least goes first where there is no room
  bool less_is_better = false, more_is_better = false;
};

struct Comparison {
  std::vector<RunGroup> groups;              // rows
  std::vector<ComparisonColumn> columns;     // those that any group has
  std::vector<std::vector<Figure>> figures;  // [group][column]
  // Keys whose values differ between groups, with the value of each ("-" where a group lacks it).
  std::vector<std::pair<std::string, std::vector<std::string>>> differences;
  double target = 0;           // loss to reach; 0: none
  bool by_validation = false;  // it is the validation loss that is to be reached
};

// The records outlive the result. `target` as they were read with.
Comparison compare_runs(const std::vector<RunRecord>& records, double target);

// The row that is best in a column that has a better side; -1: none, or all are equal.
int best_group(const Comparison& comparison, std::size_t column);

// "4.2371 ± 0.0032", "12m 03s", "1.23M", "41.2%"; "-" where there is none. With fewer runs than the
// group has it says so: "4.2 (2 of 3)".
std::string figure_text(const Figure& figure, FigureForm form, std::size_t runs);

// Comma-separated (RFC 4180, with line feeds), all columns at full precision, then the keys that
// differ.
std::string comparison_csv(const Comparison& comparison);
// One JSON object, indented, with a newline at its end; what is not there is null.
std::string comparison_json(const Comparison& comparison);

}  // namespace memengine
