// A file of lines, read once from its beginning with a bounded amount of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "io/files/file.h"

namespace memengine {

class LineFile {
 public:
  // A line of more than `max_line_bytes` is an input error that names the file and the line.
  explicit LineFile(const std::filesystem::path& path, std::size_t max_line_bytes = 16u << 20);

  // The next line without its line feed, valid until the next call; false at the end.
  bool next(std::string_view& line);
  std::int64_t number() const { return number_; }  // of the line that next() gave, from 1
  // Whether that line ended with a line feed: one at the end of the file may not.
  bool whole() const { return whole_; }
  // Bytes from the start of the file to the end of that line.
  std::uint64_t end() const { return end_; }

 private:
  InputFile file_;
  std::size_t max_line_bytes_;
  std::string buffer_;  // what was read and not given yet, from first_ on
  std::size_t first_ = 0;
  std::uint64_t offset_ = 0;  // of the file's bytes after the buffer
  std::int64_t number_ = 0;
  bool whole_ = false;
  std::uint64_t end_ = 0;
};

}  // namespace memengine
