// Two records side by side. Times are matched by case, op and shape; of a shape, what comes before
// ':' counts, because after it stands what was measured of random picks.
#include "engine/bench/compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine::bench {
namespace {

constexpr double least_change = 0.02;
constexpr const char* whole_step = "training step";

std::string key(const RecordedTime& time) {
  return time.bench_case + '\n' + time.what + '\n' + time.shape.substr(0, time.shape.find(':'));
}

std::vector<RecordedTime> times_of(const Results& results) {
  std::vector<RecordedTime> times;
  for (const OpResult& op : results.ops) {
    times.push_back({op.bench_case, op.op, op.shape, 1e3 * op.seconds});
  }
  for (const StepResult& step : results.steps) {
    if (!step.failure.empty()) continue;
    times.push_back({step.bench_case, whole_step, "", 1e3 * step.seconds});
  }
  return times;
}

struct Change {
  RecordedTime now;
  double before_ms;

  double gain() const { return before_ms - now.ms; }
};

std::string line(const RecordedTime& time, const std::string& rest) {
  return fmt::format("  {:<24} {:<36} {:<50} {}\n", time.bench_case, time.what, time.shape, rest);
}

}  // namespace

Record read_record(const std::string& path) {
  constexpr std::uint64_t max_record_bytes = 64u << 20;
  const std::string text = read_text_file(path, max_record_bytes);
  Record record;
  record.path = path;
  try {
    const nlohmann::json document = nlohmann::json::parse(text);
    record.device = document.at("device").get<std::string>();
    for (const nlohmann::json& op : document.at("ops")) {
      record.times.push_back({op.at("case").get<std::string>(), op.at("op").get<std::string>(),
                              op.at("shape").get<std::string>(), op.at("ms").get<double>()});
    }
    for (const nlohmann::json& step : document.at("steps")) {
      if (step.contains("failure")) continue;
      record.times.push_back(
          {step.at("case").get<std::string>(), whole_step, "", step.at("ms").get<double>()});
    }
  } catch (const nlohmann::json::exception& error) {
    fail_input("bench: {} is no record that `bench --json` wrote: {}", path, error.what());
  }
  return record;
}

std::string changes_since(const Record& record, const Results& results) {
  std::string text = fmt::format("changes since {} ({})\n", record.path, record.device);
  if (record.device != results.device) text += fmt::format("  now on {}\n", results.device);
  std::vector<RecordedTime> before = record.times;
  std::vector<Change> changes;
  std::string only_now;
  std::set<std::string> unknown_cases;
  // Steps and ops of a case are recorded apart.
  const auto has_case = [&](const RecordedTime& now) {
    return std::any_of(record.times.begin(), record.times.end(), [&](const RecordedTime& time) {
      return time.bench_case == now.bench_case &&
             (time.what == whole_step) == (now.what == whole_step);
    });
  };
  int unchanged = 0;
  for (const RecordedTime& now : times_of(results)) {
    const auto same = std::find_if(before.begin(), before.end(),
                                   [&](const RecordedTime& time) { return key(time) == key(now); });
    if (same == before.end()) {
      if (!has_case(now)) {
        unknown_cases.insert(now.bench_case);
        continue;
      }
      only_now += line(now, fmt::format("{:>9.4f} ms, not in the record", now.ms));
      continue;
    }
    const Change change{now, same->ms};
    before.erase(same);
    if (std::abs(change.gain()) < least_change * change.before_ms)
      ++unchanged;
    else
      changes.push_back(change);
  }
  std::stable_sort(changes.begin(), changes.end(),
                   [](const Change& a, const Change& b) { return a.gain() > b.gain(); });
  for (const Change& change : changes) {
    text += line(change.now, fmt::format("{:>9.4f} -> {:>9.4f} ms  x {:.2f}", change.before_ms,
                                         change.now.ms, change.now.ms / change.before_ms));
  }
  text += fmt::format("  {} times within {:.0f}%\n", unchanged, 100 * least_change);
  text += only_now;
  for (const std::string& name : unknown_cases) {
    text += fmt::format("  {}: not in the record\n", name);
  }
  // What the record has of the cases that were measured now.
  for (const RecordedTime& time : before) {
    const bool measured =
        std::any_of(results.ops.begin(), results.ops.end(), [&](const OpResult& op) {
          return op.bench_case == time.bench_case && time.what != whole_step;
        });
    if (measured) text += line(time, fmt::format("{:>9.4f} ms, only in the record", time.ms));
  }
  text.pop_back();
  return text;
}

}  // namespace memengine::bench
