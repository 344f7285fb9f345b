// What is left of a run: its config and the curves of its metrics, read from the folder that
// training wrote. Nothing else of the folder is needed, so a run whose checkpoints are gone, or a
// copy of config.yaml and metrics.jsonl alone, is as good.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/report/curve.h"

namespace memengine {

// When a loss was reached first.
struct Reached {
  bool reached = false;
  RunPlace place;
};

struct RunEvent {
  RunPlace place;
  double gradient_norm = 0;
  bool skipped = false;  // the update was left out; else it spiked and was made
};

struct RunRecord {
  std::filesystem::path folder;
  std::string name;  // metrics' or config's; the folder's where neither has one
  std::vector<std::pair<std::string, std::string>> config;  // dotted keys; empty without the file
  // By the metric's key: "loss/out", "val/loss", ...; the first metric of each evaluation task as
  // "eval/task/metric".
  std::map<std::string, Curve> curves;
  std::map<std::string, double> evaluation;  // the last of every "task/metric" and "..._stderr"
  std::vector<std::string> first_metrics;    // of each task, in the order in which they are asked
  RunPlace end;
  double total_steps = 0;        // that the config asks for; 0: unknown
  std::vector<RunEvent> events;  // at most 200, the first ones
  std::int64_t spikes = 0, skipped = 0;
  std::int64_t lines = 0, damaged_lines = 0;
  bool damaged_config = false;
  Reached target, training_target;  // by validation and by training loss

  const Curve* curve(const std::string& key) const;
  // NaN where there is none.
  double last(const std::string& key) const;
  // "" where the config does not say.
  std::string config_value(const std::string& key) const;
};

struct RunReading {
  std::size_t parts = 500;  // of a curve
  double target = 0;        // loss to reach; 0: none
};

// `path`: a run's folder or its metrics.jsonl. Damaged lines, other values than numbers and keys
// that are missing are passed over. Input errors: no metrics there, not readable.
RunRecord read_run(const std::filesystem::path& path, const RunReading& reading);

// The folders of runs that paths mean: a folder with metrics.jsonl is one; in another folder all
// below it that have one, in the order of their names, but not inside of runs. One that several
// paths lead to is there once. Input error where there is none, with what was looked for.
std::vector<std::filesystem::path> find_runs(const std::vector<std::filesystem::path>& paths);

// Every line of metrics.jsonl as CSV (RFC 4180, with line feeds): a column for each key, in the
// order met, empty where a line lacks it; damaged lines are left out. Two passes, in the memory of
// one line. `out` is handed pieces of text.
void metrics_csv(const std::filesystem::path& path,
                 const std::function<void(std::string_view)>& out);
// A field of CSV, quoted where it must be.
std::string csv_field(std::string_view text);

// A run's name without its seed, which makes no other experiment: "dense" of "dense-seed42", "a_x"
// of "a_s=7_x"; the name itself where nothing else is left.
std::string without_seed(const std::string& name);

}  // namespace memengine
