// Lines are parsed by simdjson; what a line means is in RecordReader.
#include "engine/report/run_record.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <set>
#include <string_view>

#include "io/config/config_reader.h"
#include "io/config/yaml_tree.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/line_file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

constexpr std::size_t max_line_bytes = 1 << 20;
constexpr std::size_t max_events = 200;
constexpr std::size_t max_curves = 2000;  // keys: a file from elsewhere may have one a line

// A number, or NaN for null, which stands for what JSON cannot hold; nothing for all else.
std::optional<double> number_of(const dom::element& value) {
  if (value.is_null()) return nothing;
  double number = 0;
  if (value.get(number) == simdjson::SUCCESS) return number;
  return std::nullopt;
}

// Python writes what JSON cannot hold as the words NaN, Infinity and -Infinity: null in their
// place, unless they stand in a string.
std::string without_python_numbers(std::string_view line) {
  std::string text;
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const std::string_view rest = line.substr(i);
    const std::string_view words[] = {"NaN", "-Infinity", "Infinity"};
    const auto* word = quoted ? std::end(words)
                              : std::find_if(std::begin(words), std::end(words),
                                             [&](auto each) { return rest.starts_with(each); });
    if (word != std::end(words)) {
      text += "null";
      i += word->size() - 1;
      continue;
    }
    text += line[i];
    if (quoted && line[i] == '\\' && i + 1 < line.size())
      text += line[++i];
    else if (line[i] == '"')
      quoted = !quoted;
  }
  return text;
}

// The objects of a file of JSON lines; returns how many lines were damaged.
template <typename OnObject>
std::int64_t for_each_object(const fs::path& path, OnObject on_object) {
  LineFile file(path, max_line_bytes);
  dom::parser parser;
  std::int64_t damaged = 0;
  std::string_view line;
  while (file.next(line)) {
    dom::object object;
    bool read = parser.parse(line.data(), line.size(), true).get(object) == simdjson::SUCCESS;
    if (!read && (line.find("NaN") != line.npos || line.find("Infinity") != line.npos)) {
      const std::string plain = without_python_numbers(line);
      read = parser.parse(plain).get(object) == simdjson::SUCCESS;
    }
    if (read) {
      on_object(object);
    } else if (line.find_first_not_of(" \t\r") != line.npos) {
      ++damaged;
    }
  }
  return damaged;
}

// What an evaluation found, to be placed by its step.
struct EvaluationLine {
  double step = 0;
  std::vector<std::pair<std::string, double>> firsts;  // the first metric of each task
};

class RecordReader {
 public:
  // `evaluations` in the order of their steps.
  RecordReader(RunRecord& record, const RunReading& reading,
               std::vector<EvaluationLine> evaluations)
      : record_(record), reading_(reading), evaluations_(std::move(evaluations)) {}

  // After the last line.
  void finish() { place_evaluations(std::numeric_limits<double>::infinity()); }

  void read_line(const dom::object& line) {
    double step = nothing, tokens = nothing, iteration = nothing, words = nothing, flops = nothing;
    double spikes = nothing, skipped = nothing, norm = nothing;
    const std::pair<std::string_view, double*> wanted[] = {
        {"global_step", &step},     {"optim/total_tokens", &tokens},
        {"speed/wps", &words},      {"speed/FLOPS", &flops},
        {"optim/spikes", &spikes},  {"speed/curr_iter_time", &iteration},
        {"optim/grad_norm", &norm}, {"optim/skipped_updates", &skipped},
    };
    for (const auto& [key, value] : line) {
      if (key == "name") {
        std::string_view name;
        if (value.get(name) == simdjson::SUCCESS) record_.name = name;
        continue;
      }
      for (const auto& [name, field] : wanted) {
        if (key == name) *field = number_of(value).value_or(nothing);
      }
    }
    if (!std::isfinite(step)) return;
    advance(step, tokens, iteration, words, flops);
    find_events(spikes, skipped, norm);
    place_evaluations(record_.end.step);
    for (const auto& [key, value] : line) {
      if (key == "global_step") continue;
      const std::optional<double> number = number_of(value);
      if (number) add(std::string(key), *number);
    }
    ++record_.lines;
  }

 private:
  // Those up to a step, where the run stands now.
  void place_evaluations(double step) {
    for (; placed_ < evaluations_.size() && evaluations_[placed_].step <= step; ++placed_) {
      for (const auto& [key, value] : evaluations_[placed_].firsts) add("eval/" + key, value);
    }
  }

  void advance(double step, double tokens, double iteration, double words, double flops) {
    RunPlace& place = record_.end;
    if (std::isfinite(iteration) && step > place.step) {
      place.seconds += iteration * (step - place.step);
    }
    if (step > place.step) place.step = step;
    if (std::isfinite(tokens)) place.tokens = std::max(place.tokens, tokens);
    if (std::isfinite(flops) && words > 0) flops_per_token_ = std::round(flops / words);
    place.flops = place.tokens * flops_per_token_;
  }

  void find_events(double spikes, double skipped, double norm) {
    const auto note = [&](double now, std::int64_t& before, bool left_out) {
      if (!std::isfinite(now)) return;
      const auto count = static_cast<std::int64_t>(std::clamp(now, 0.0, 1e15));
      if (count > before && record_.events.size() < max_events) {
        record_.events.push_back({record_.end, norm, left_out});
      }
      before = count;
    };
    note(skipped, record_.skipped, true);
    note(spikes, record_.spikes, false);
  }

  void add(const std::string& key, double value) {
    auto found = record_.curves.find(key);
    if (found == record_.curves.end()) {
      if (record_.curves.size() >= max_curves) return;
      found = record_.curves.emplace(key, Curve(reading_.parts)).first;
    }
    found->second.add(record_.end, value);
    if (reading_.target <= 0 || !(value <= reading_.target)) return;
    if (key != "val/loss" && key != "loss/out") return;
    Reached& reached = key == "val/loss" ? record_.target : record_.training_target;
    if (!reached.reached) reached = {true, record_.end};
  }

  RunRecord& record_;
  const RunReading& reading_;
  double flops_per_token_ = 0;
  std::vector<EvaluationLine> evaluations_;
  std::size_t placed_ = 0;
};

void flatten(const YamlNode& node, const std::string& key,
             std::vector<std::pair<std::string, std::string>>& values) {
  switch (node.kind) {
    case YamlNode::Kind::map:
      for (const YamlEntry& entry : node.children) {
        flatten(entry.value, key.empty() ? entry.key : key + "." + entry.key, values);
      }
      if (node.children.empty()) values.emplace_back(key, "{}");
      break;
    case YamlNode::Kind::list: {
      std::string text = "[";
      for (const YamlNode& item : node.items) {
        std::vector<std::pair<std::string, std::string>> below;
        flatten(item, "", below);
        if (text.size() > 1) text += ", ";
        for (std::size_t i = 0; i < below.size(); ++i) {
          if (i > 0) text += " ";
          text += below[i].first.empty() ? below[i].second : below[i].first + "=" + below[i].second;
        }
      }
      values.emplace_back(key, text + "]");
      break;
    }
    case YamlNode::Kind::scalar:
      values.emplace_back(key, node.text);
      break;
    case YamlNode::Kind::null:
      values.emplace_back(key, "null");
  }
}

void read_config(RunRecord& record) {
  const fs::path path = record.folder / "config.yaml";
  if (!is_there(path)) return;
  try {
    const YamlNode tree =
        parse_yaml(read_text_file(path, ConfigReader::max_bytes), path.string(),
                   {ConfigReader::max_bytes, ConfigReader::max_nodes, ConfigReader::max_depth});
    flatten(tree, "", record.config);
  } catch (const Error&) {
    record.config.clear();  // its metrics are still worth a line
    record.damaged_config = true;
  }
  try {
    record.total_steps = std::stod(record.config_value("steps"));
  } catch (const std::exception&) {
    record.total_steps = 0;
  }
}

// Takes the last of every figure; returns the lines.
std::vector<EvaluationLine> read_evaluations(RunRecord& record) {
  std::vector<EvaluationLine> lines;
  const fs::path path = record.folder / "metrics.eval.jsonl";
  if (!is_there(path)) return lines;
  for_each_object(path, [&](const dom::object& line) {
    EvaluationLine& evaluation = lines.emplace_back();
    std::string_view task;
    for (const auto& [key, value] : line) {
      const std::optional<double> number = number_of(value);
      if (number && std::isfinite(*number) && key == "global_step") evaluation.step = *number;
      const std::size_t slash = key.find('/');
      if (!number || slash == key.npos || record.evaluation.size() >= max_curves) continue;
      record.evaluation[std::string(key)] = *number;
      if (key.substr(0, slash) == task) continue;
      task = key.substr(0, slash);
      evaluation.firsts.emplace_back(key, *number);
      std::vector<std::string>& firsts = record.first_metrics;
      if (std::find(firsts.begin(), firsts.end(), key) == firsts.end()) firsts.emplace_back(key);
    }
  });
  std::stable_sort(lines.begin(), lines.end(),
                   [](const auto& a, const auto& b) { return a.step < b.step; });
  return lines;
}

fs::path metrics_path(const fs::path& path) {
  std::error_code none;
  return fs::is_directory(path, none) ? path / "metrics.jsonl" : path;
}

}  // namespace

const Curve* RunRecord::curve(const std::string& key) const {
  const auto found = curves.find(key);
  return found == curves.end() ? nullptr : &found->second;
}

double RunRecord::last(const std::string& key) const {
  const Curve* found = curve(key);
  return found == nullptr ? nothing : found->last();
}

std::string RunRecord::config_value(const std::string& key) const {
  for (const auto& [name, value] : config) {
    if (name == key) return value;
  }
  return "";
}

RunRecord read_run(const fs::path& path, const RunReading& reading) {
  RunRecord record;
  const fs::path metrics = metrics_path(path);
  record.folder = metrics.parent_path();
  read_config(record);
  record.name = record.config_value("name");
  RecordReader reader(record, reading, read_evaluations(record));
  record.damaged_lines =
      for_each_object(metrics, [&](const dom::object& line) { reader.read_line(line); });
  reader.finish();
  if (record.lines == 0) {
    fail_input("{}: no line of it is a run's metrics; give the folder of a run that has trained",
               metrics.string());
  }
  if (record.name.empty()) {
    record.name = fs::absolute(record.folder).lexically_normal().filename().string();
  }
  return record;
}

std::vector<fs::path> find_runs(const std::vector<fs::path>& paths) {
  std::vector<fs::path> found;
  const auto walk = [&](const auto& self, const fs::path& folder, int depth) -> void {
    std::error_code none;
    if (fs::is_regular_file(folder / "metrics.jsonl", none)) {
      found.push_back(folder);
      return;
    }
    if (depth == 0) return;
    std::vector<fs::path> below;
    for (fs::directory_iterator entry(folder, none), end; !none && entry != end;
         entry.increment(none)) {
      if (entry->is_directory(none) && !entry->is_symlink(none)) below.push_back(entry->path());
    }
    std::sort(below.begin(), below.end());
    for (const fs::path& each : below) self(self, each, depth - 1);
  };
  for (const fs::path& path : paths) {
    std::error_code none;
    const std::size_t before = found.size();
    if (fs::is_directory(path, none)) {
      walk(walk, path, 4);
    } else if (is_there(path)) {
      found.push_back(path);
    } else {
      fail_input("{}: there is no such run; give folders of runs, or a folder that holds some",
                 path.string());
    }
    if (found.size() == before) {
      fail_input(
          "{}: no metrics.jsonl here or in its folders; give folders of runs that have "
          "trained",
          path.string());
    }
  }
  std::set<fs::path> seen;
  std::erase_if(found, [&](const fs::path& run) {
    std::error_code none;
    return !seen.insert(fs::weakly_canonical(metrics_path(run), none)).second;
  });
  return found;
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == text.npos) return std::string(text);
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
  return quoted + "\"";
}

void metrics_csv(const fs::path& path, const std::function<void(std::string_view)>& out) {
  std::vector<std::string> keys;
  std::map<std::string, std::size_t, std::less<>> columns;
  const fs::path metrics = metrics_path(path);
  for_each_object(metrics, [&](const dom::object& line) {
    for (const auto& field : line) {
      if (columns.find(field.key) != columns.end() || keys.size() >= max_curves) continue;
      columns.emplace(field.key, keys.size());
      keys.emplace_back(field.key);
    }
  });
  std::string text;
  const auto put = [&](const std::vector<std::string>& cells) {
    text.clear();
    for (std::size_t i = 0; i < cells.size(); ++i) text += (i > 0 ? "," : "") + csv_field(cells[i]);
    out(text + "\n");
  };
  put(keys);
  std::vector<std::string> cells(keys.size());
  for_each_object(metrics, [&](const dom::object& line) {
    std::fill(cells.begin(), cells.end(), "");
    for (const auto& [key, value] : line) {
      const auto column = columns.find(key);
      if (column == columns.end()) continue;
      std::string_view words;
      if (value.get(words) == simdjson::SUCCESS) {
        cells[column->second] = words;
      } else if (!value.is_null()) {
        cells[column->second] = simdjson::minify(value);
      }
    }
    put(cells);
  });
}

}  // namespace memengine
