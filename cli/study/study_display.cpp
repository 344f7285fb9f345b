#include "cli/study/study_display.h"

#include <cstdio>

namespace memengine {
namespace {

// The columns of a step's line in train.log, the less important to the right.
std::vector<LineColumn> columns_of(const std::string& line) {
  std::vector<LineColumn> columns;
  std::size_t at = 0;
  while (at <= line.size()) {
    const std::size_t end = std::min(line.find("  ", at), line.size());
    const int importance =
        columns.size() < 2 ? never_dropped : 90 - 5 * static_cast<int>(columns.size());
    columns.push_back({line.substr(at, end - at), importance});
    at = end + 2;
  }
  columns.back().importance = never_dropped;  // the time left
  return columns;
}

}  // namespace

double StudyDisplay::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void StudyDisplay::say(const std::string& text) {
  line_.say(fmt::format("[{}] {}", duration_text(seconds()), text));
}

void StudyDisplay::say_skipped() {
  if (skipped_ == 0) return;
  say(fmt::format("{} of {} runs are done already", std::exchange(skipped_, 0), total_));
}

void StudyDisplay::preparing(const std::string& command) {
  say_skipped();
  say("memengine " + printable(command));
}

void StudyDisplay::skipped(const StudyRun& /*run*/) {
  ++skipped_;
}

void StudyDisplay::started(const StudyRun& run, const std::string& gpu) {
  say_skipped();
  say(gpu.empty() ? fmt::format("train {}", run.name)
                  : fmt::format("train {} on GPU {}", run.name, printable(gpu)));
}

void StudyDisplay::stepped(const StudyRun& run, const std::string& line) {
  long long step = 0, steps = 0;
  if (std::sscanf(line.c_str(), "step %lld/%lld", &step, &steps) != 2 || steps < 1) return;
  newest_ = run.name;
  if (line_.terminal()) {
    std::vector<LineColumn> columns = columns_of(printable(line));
    columns.front().text.insert(0, "  " + run.name + ": ");
    line_.show(columns);
    return;
  }
  const int lines = total_ <= 6 ? 10 : 2;  // of each run
  const auto part = static_cast<int>(lines * step / steps);
  if (part <= parts_told_[run.name]) return;
  parts_told_[run.name] = part;
  line_.say("  " + run.name + ": " + printable(line));
}

void StudyDisplay::finished(const StudyRun& run, double seconds) {
  say(fmt::format("{} done in {}", run.name, duration_text(seconds)));
}

void StudyDisplay::failed(const StudyRun& run, int code, const std::string& message) {
  say(fmt::format("{} FAILED with code {}: {}", run.name, code, printable(message)));
}

void StudyDisplay::waiting(std::size_t done, std::size_t running) {
  if (!line_.terminal() || running == 0 || !newest_.empty()) return;
  line_.show(fmt::format("  {} of {} runs done", done, total_));
}

std::filesystem::path where_it_lies(const std::filesystem::path& config) {
  std::error_code none;
  if (std::filesystem::exists(config, none)) return config;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", none);
  const auto installed = program.parent_path().parent_path() / "share/memengine" / config;
  return !none && std::filesystem::exists(installed, none) ? installed : config;
}

}  // namespace memengine
