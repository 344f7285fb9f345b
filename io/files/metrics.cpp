// See metrics.h.
#include "io/files/metrics.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string_view>

#include "io/files/line_file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t max_line_bytes = 1 << 20;

struct Kept {
  std::uint64_t bytes = 0;
  std::int64_t damaged_lines = 0;
};

// What stays of a file: all before the first line of a later step.
Kept kept_part(const std::filesystem::path& path, std::int64_t resumed_step) {
  Kept kept;
  std::error_code unknown;
  if (!std::filesystem::exists(std::filesystem::symlink_status(path, unknown))) return kept;
  LineFile file(path, max_line_bytes);
  std::string_view line;
  while (file.next(line) && file.whole()) {
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (object.is_object()) {
      const auto step = object.find("global_step");
      if (step != object.end() && step->is_number_integer() &&
          step->get<std::int64_t>() > resumed_step) {
        break;
      }
    } else {
      ++kept.damaged_lines;
    }
    kept.bytes = file.end();
  }
  return kept;
}

void append_text(std::string& line, std::string_view text) {
  line += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path, std::int64_t resumed_step,
                         FileSystem& files)
    : path_(path), files_(files) {
  if (resumed_step >= 0) {
    const Kept kept = kept_part(path, resumed_step);
    size_ = kept.bytes;
    damaged_lines_ = kept.damaged_lines;
  }
  descriptor_ = files.create_or_open(path);
  if (::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) {
    const int error = errno;
    ::close(descriptor_);
    fail_input("{}: cannot write metrics: {}", path.string(), std::strerror(error));
  }
}

MetricsFile::~MetricsFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void MetricsFile::write(std::span<const Metric> metrics) {
  line_ = "{";
  for (const auto& [key, value] : metrics) {
    if (line_.size() > 1) line_ += ", ";
    append_text(line_, key);
    line_ += ": ";
    if (const auto* integer = std::get_if<std::int64_t>(&value)) {
      fmt::format_to(std::back_inserter(line_), "{}", *integer);
    } else if (const auto* real = std::get_if<double>(&value)) {
      if (std::isfinite(*real)) {
        fmt::format_to(std::back_inserter(line_), "{}", *real);
      } else {
        line_ += "null";
      }
    } else if (const auto* flag = std::get_if<bool>(&value)) {
      line_ += *flag ? "true" : "false";
    } else {
      append_text(line_, std::get<std::string>(value));
    }
  }
  line_ += "}\n";
  files_.write(descriptor_, std::as_bytes(std::span(line_)), size_, path_);
  size_ += line_.size();
}

}  // namespace memengine
