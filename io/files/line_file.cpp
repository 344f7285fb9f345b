// A buffer that is refilled after what is left of a line.
#include "io/files/line_file.h"

#include <span>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t piece_bytes = 256 << 10;

}  // namespace

LineFile::LineFile(const std::filesystem::path& path, std::size_t max_line_bytes)
    : file_(path), max_line_bytes_(max_line_bytes) {}

bool LineFile::next(std::string_view& line) {
  std::size_t searched = first_;
  ++number_;
  for (;;) {
    const std::size_t feed = buffer_.find('\n', searched);
    const std::size_t length = (feed == buffer_.npos ? buffer_.size() : feed) - first_;
    if (length > max_line_bytes_) {
      fail_input("{}:{}: the line is longer than {} MiB", file_.path().string(), number_,
                 max_line_bytes_ >> 20);
    }
    if (feed != buffer_.npos) {
      line = std::string_view(buffer_).substr(first_, length);
      first_ = feed + 1;
      end_ += length + 1;
      whole_ = true;
      return true;
    }
    buffer_.erase(0, first_);
    first_ = 0;
    searched = buffer_.size();
    buffer_.resize(searched + piece_bytes);
    const std::size_t got =
        file_.read_some(offset_, std::as_writable_bytes(std::span(buffer_).subspan(searched)));
    buffer_.resize(searched + got);
    offset_ += got;
    if (got > 0) continue;
    whole_ = false;
    line = buffer_;
    first_ = buffer_.size();
    end_ += line.size();
    return !line.empty();
  }
}

}  // namespace memengine
