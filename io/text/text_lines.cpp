// One buffer, in which lines are searched and to which more is added.
#include "io/text/text_lines.h"

#include <algorithm>
#include <cstring>

namespace memengine {
namespace {

constexpr std::size_t read_bytes = 1 << 20;
constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";

// After the last space of a long line, or else before the last character, which may be cut.
std::size_t cut_place(std::string_view line) {
  const std::size_t space = line.rfind(' ');
  if (space != line.npos) return space + 1;
  std::size_t at = line.size() - 1;
  while (at > 1 && line.size() - at < 4 && (static_cast<unsigned char>(line[at]) & 0xC0) == 0x80) {
    --at;
  }
  return at;
}

}  // namespace

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n\v\f") == line.npos;
}

LineReader::LineReader(std::unique_ptr<ByteStream> stream, std::size_t most,
                       std::function<bool()> stop)
    : stream_(std::move(stream)), most_(most), stop_(std::move(stop)), buffer_(read_bytes) {}

bool LineReader::next(std::string_view& line) {
  if (whole_) ++number_;
  for (std::size_t searched = 0;;) {
    const char* from = buffer_.data() + begin_;
    const std::size_t here = std::min(end_ - begin_, most_ + 1);
    const auto* end = static_cast<const char*>(
        here > searched ? std::memchr(from + searched, '\n', here - searched) : nullptr);
    searched = here;
    if (end) {
      take(line, static_cast<std::size_t>(end - from), 1);
      break;
    }
    if (searched > most_) {
      take(line, cut_place({from, most_}), 0);
      whole_ = false;
      return count(line);
    }
    if (!fill()) {
      if (searched == 0) return false;
      take(line, searched, 0);
      ended_ = false;
      break;
    }
  }
  whole_ = true;
  return count(line);
}

std::string_view LineReader::peek() {
  for (bool more = true;; more = fill()) {  // which may move the buffer
    std::string_view seen(buffer_.data() + begin_, end_ - begin_);
    if (seen.starts_with(byte_order_mark)) seen.remove_prefix(byte_order_mark.size());
    const std::size_t first = seen.find_first_not_of(" \t\r\n");
    const std::size_t end = first == seen.npos ? seen.npos : seen.find('\n', first);
    if (end != seen.npos) return seen.substr(0, end);
    if (seen.size() >= read_bytes || !more) return seen;
  }
}

void LineReader::take(std::string_view& line, std::size_t bytes, std::size_t line_end) {
  line = {buffer_.data() + begin_, bytes};
  begin_ += bytes + line_end;
  ended_ = line_end > 0;
}

bool LineReader::count(std::string_view& line) {
  if (taken_++ == 0 && line.starts_with(byte_order_mark)) {
    line.remove_prefix(byte_order_mark.size());
  }
  return true;
}

// Moves what is left to the front and reads more after it; false at the end of the file.
bool LineReader::fill() {
  if (stop_ && stop_()) throw TextStopped();
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  if (buffer_.size() < end_ + read_bytes) buffer_.resize(std::max(2 * end_, end_ + read_bytes));
  const std::size_t got = stream_->read(buffer_.data() + end_, buffer_.size() - end_);
  end_ += got;
  return got > 0;
}

}  // namespace memengine
