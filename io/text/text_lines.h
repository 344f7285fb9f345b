// Lines of one text file, decompressed as it is read, in bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "io/text/text_source_bytes.h"

namespace memengine {

// Reading was stopped, perhaps inside a line that has no end.
struct TextStopped {};

// Lines without their line ends ("\n"; a "\r" before it stays), or parts of at most `most` bytes of
// longer lines; views stay valid until the next call. A byte order mark at the start is dropped.
class LineReader {
 public:
  // `stop`, when given, is asked before each read: true makes next() throw TextStopped.
  LineReader(std::unique_ptr<ByteStream> stream, std::size_t most, std::function<bool()> stop = {});

  // The next line or part; false at the end.
  bool next(std::string_view& line);

  // What comes first, up to the end of the first line that is not blank, or a megabyte of it;
  // before any line is taken.
  std::string_view peek();

  void limit(std::size_t most) { most_ = most; }  // from the next line on

  std::uint64_t taken() const { return taken_; }    // lines and parts of lines
  std::uint64_t number() const { return number_; }  // of the last line, from 1
  bool whole() const { return whole_; }             // the line ended with the last part taken
  bool ended_by_newline() const { return ended_; }  // the last line
  std::int64_t stored_bytes() const { return stream_->stored_bytes(); }

 private:
  void take(std::string_view& line, std::size_t bytes, std::size_t line_end);
  bool count(std::string_view& line);
  bool fill();

  std::unique_ptr<ByteStream> stream_;
  std::size_t most_;
  std::function<bool()> stop_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0, end_ = 0;  // what is read and not yet handed out
  std::uint64_t taken_ = 0, number_ = 0;
  bool whole_ = true, ended_ = true;
};

// Whether a line is white space only.
bool is_blank(std::string_view line);

}  // namespace memengine
