// See metrics.h.
#include "io/files/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// Bytes of the file up to the first line that is cut short or belongs to a later step.
std::uint64_t kept_bytes(const std::filesystem::path& path, std::int64_t resumed_step) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t kept = 0;
  std::string line;
  while (std::getline(file, line) && !file.eof()) {  // eof here: no newline, so cut short
    const auto object = nlohmann::json::parse(line, nullptr, false);
    if (!object.is_object()) break;
    const auto step = object.find("global_step");
    if (step != object.end() && step->is_number_integer() &&
        step->get<std::int64_t>() > resumed_step) {
      break;
    }
    kept += line.size() + 1;
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
  size_ = resumed_step < 0 ? 0 : kept_bytes(path, resumed_step);
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (descriptor_ < 0 || ::ftruncate(descriptor_, static_cast<off_t>(size_)) != 0) {
    const int error = errno;
    if (descriptor_ >= 0) ::close(descriptor_);
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
