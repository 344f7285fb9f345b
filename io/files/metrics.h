// metrics.jsonl: one JSON object per line, appended and flushed as it happens.
//
// Keys and their order are the caller's. A line is written with one system call, so a reader sees
// whole lines; numbers that JSON cannot hold (NaN, infinity) become null.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "io/files/file.h"

namespace memengine {

using MetricValue = std::variant<std::int64_t, double, bool, std::string>;
using Metric = std::pair<std::string_view, MetricValue>;

class MetricsFile {
 public:
  // Opens for appending. With resumed_step >= 0, the first line of a later `global_step` and all
  // that follow it (written by a run that was killed after its last checkpoint), and a last line
  // cut short, are cut off first; with -1 the file starts empty. A damaged line stays where it is.
  // Input error where the file cannot be written.
  MetricsFile(const std::filesystem::path& path, std::int64_t resumed_step,
              FileSystem& files = FileSystem::real());
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;

  // Lines found, when it was opened, that are no JSON objects.
  std::int64_t damaged_lines() const { return damaged_lines_; }

  // Input error where it cannot be written; the next line then takes the place of this one.
  void write(std::span<const Metric> metrics);

 private:
  std::filesystem::path path_;
  FileSystem& files_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  std::int64_t damaged_lines_ = 0;
  std::string line_;  // reused, so that a step does not allocate
};

}  // namespace memengine
