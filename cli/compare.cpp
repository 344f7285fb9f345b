// memengine compare RUN... and memengine report RUN...
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/report/comparison.h"
#include "engine/report/run_report.h"
#include "engine/run/display_width.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

struct RunArguments {
  std::vector<fs::path> paths;
  double target = 0;
};

void add_runs(CLI::App& command, RunArguments& arguments) {
  command
      .add_option("run", arguments.paths,
                  "Folders of runs, or folders that hold some; also a "
                  "metrics.jsonl")
      ->required()
      ->transform(home_path());
  command.add_option("--to", arguments.target, "Also what it took to reach this loss")
      ->check(above_zero());
}

std::vector<RunRecord> read_runs(const RunArguments& arguments) {
  const std::vector<fs::path> found = find_runs(arguments.paths);
  RunReading reading;
  reading.parts = drawn_points(found.size());
  reading.target = arguments.target;
  std::vector<RunRecord> records;
  std::string trouble;
  for (const fs::path& path : found) {
    try {
      records.push_back(read_run(path, reading));
    } catch (const Error& error) {
      if (found.size() == 1) throw;
      fmt::print(stderr, "note: left out: {}\n", error.what());
    }
  }
  if (records.empty()) fail_input("none of the {} runs has metrics that can be read", found.size());
  return records;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::string air(width - std::min(width, display_width(text)), ' ');
  return right ? air + text : text + air;
}

// Rows are runs; columns that do not fit the window are left out, the least important first.
void print_table(const Comparison& comparison, std::size_t window) {
  struct Column {
    std::vector<std::string> cells;  // the title first
    std::size_t width = 0;
    int importance = 0;
    bool right = true;
  };
  std::vector<Column> columns;
  const auto add = [&](std::vector<std::string> cells, int importance, bool right) {
    Column column{std::move(cells), 0, importance, right};
    for (std::string& cell : column.cells) {
      cell = fit_text(printable(cell), 48);
      column.width = std::max(column.width, display_width(cell));
    }
    columns.push_back(std::move(column));
  };
  std::vector<std::string> names = {"run"}, seeds = {"runs"};
  bool any_seeds = false;
  for (const RunGroup& group : comparison.groups) {
    names.push_back(group.title);
    seeds.push_back(std::to_string(group.runs.size()));
    any_seeds = any_seeds || group.runs.size() > 1;
  }
  add(names, never_dropped, false);
  if (any_seeds) add(seeds, 85, true);
  for (std::size_t c = 0; c < comparison.columns.size(); ++c) {
    const ComparisonColumn& column = comparison.columns[c];
    std::vector<std::string> cells = {column.title};
    for (std::size_t g = 0; g < comparison.groups.size(); ++g) {
      cells.push_back(
          figure_text(comparison.figures[g][c], column.form, comparison.groups[g].runs.size()));
    }
    add(std::move(cells), column.importance, true);
  }
  std::size_t left_out = 0;
  const auto total = [&] {
    return std::accumulate(
        columns.begin(), columns.end(), std::size_t{0},
        [](std::size_t sum, const Column& column) { return sum + column.width + 2; });
  };
  while (window > 0 && total() > window + 2 && columns.size() > 2) {
    const auto least = std::min_element(
        columns.begin(), columns.end(),
        [](const Column& a, const Column& b) { return a.importance < b.importance; });
    columns.erase(least);
    ++left_out;
  }
  for (std::size_t row = 0; row < names.size(); ++row) {
    std::string line;
    for (const Column& column : columns) {
      line += (line.empty() ? "" : "  ") + padded(column.cells[row], column.width, column.right);
    }
    print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
  }
  if (left_out > 0) {
    print("{} left out for want of room; --csv and --json have all\n",
          counted(static_cast<std::int64_t>(left_out), "column"));
  }
}

void print_differences(const Comparison& comparison, std::size_t window) {
  if (comparison.differences.empty()) return;
  print("\nwhere the configs differ:\n");
  std::size_t width = 0;
  for (const auto& [key, values] : comparison.differences) width = std::max(width, key.size());
  for (const auto& [key, values] : comparison.differences) {
    std::string line = "  " + padded(key, width, false) + "  ";
    for (std::size_t g = 0; g < values.size(); ++g) line += (g > 0 ? " | " : "") + values[g];
    print("{}\n", fit_text(printable(line), window > 0 ? window : 200));
  }
}

void compare(const RunArguments& arguments, bool csv, bool json) {
  const std::vector<RunRecord> records = read_runs(arguments);
  const Comparison comparison = compare_runs(records, arguments.target);
  if (csv) return print_text(comparison_csv(comparison));
  if (json) return print_text(comparison_json(comparison));
  const std::size_t window = LiveLine().width();
  print_table(comparison, window);
  print_differences(comparison, window);
  for (const RunRecord& record : records) {
    if (record.damaged_config) {
      print("note: {}: its config.yaml cannot be read\n", record.folder.string());
    }
    if (record.damaged_lines > 0) {
      print("note: {}: {} of metrics.jsonl left out\n", record.folder.string(),
            counted(record.damaged_lines, "damaged line"));
    }
  }
}

// A page may be replaced, but nothing that a slip of the hand names.
void check_target(const fs::path& out) {
  if (!is_there(out)) return;
  const InputFile file(out);
  std::string begin(15, ' ');
  begin.resize(file.read_some(0, std::as_writable_bytes(std::span(begin))));
  if (begin != "<!DOCTYPE html>") {
    fail_input("{}: there is a file that is no HTML page; choose another name with -o",
               out.string());
  }
}

void report(const RunArguments& arguments, const fs::path& out, bool csv) {
  if (csv) {
    if (find_runs(arguments.paths).size() != 1) {
      fail_input("--csv writes the metrics of one run; `memengine compare --csv` has many runs");
    }
    metrics_csv(find_runs(arguments.paths).front(),
                [](std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); });
    return;
  }
  check_target(out);
  const std::vector<RunRecord> records = read_runs(arguments);
  const Comparison comparison = compare_runs(records, arguments.target);
  const std::string html = report_html(comparison);
  write_file_atomically(FileSystem::real(), out, html);
  print("{} ({}) on {}: open it in a browser; it needs no network\n", out.string(),
        bytes_text(static_cast<std::int64_t>(html.size())),
        counted(static_cast<std::int64_t>(records.size()), "run"));
}

}  // namespace

void add_compare_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("compare", "Final figures of runs side by side");
  command->footer(
      "Runs that differ in their seed alone (seed=, or -seed3 in their names) are one row: mean ± "
      "standard error.\n\n"
      "  memengine compare runs/dense runs/memory --to 4.30\n"
      "  memengine compare runs --csv > runs.csv");
  auto arguments = std::make_shared<RunArguments>();
  auto csv = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  add_runs(*command, *arguments);
  CLI::Option* as_csv = command->add_flag("--csv", *csv, "Comma-separated, at full precision");
  command->add_flag("--json", *json, "One JSON object")->excludes(as_csv);
  command->callback([=] { compare(*arguments, *csv, *json); });
}

void add_report_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "report", "One HTML file on runs: curves, figures, what differs; opens offline");
  command->footer(
      "  memengine report runs/laptop\n"
      "  memengine report runs --to 4.30 -o novels.html\n"
      "  memengine report runs/laptop --csv > laptop.csv     # every line of its metrics");
  auto arguments = std::make_shared<RunArguments>();
  auto out = std::make_shared<fs::path>("report.html");
  auto csv = std::make_shared<bool>(false);
  add_runs(*command, *arguments);
  command->add_option("-o,--out", *out, "The file")->transform(home_path())->capture_default_str();
  command->add_flag("--csv", *csv, "The metrics of one run as CSV to standard output instead");
  command->callback([=] { report(*arguments, *out, *csv); });
}

}  // namespace memengine
