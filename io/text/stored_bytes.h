// Bytes as they are stored, of a file or of standard input, with a look at the first of them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace memengine {

class StoredBytes {
 public:
  virtual ~StoredBytes() = default;

  // Overwrites up to `size` bytes at `to`; returns how many, 0 only at the end. What the system
  // cannot read is an input error.
  std::size_t read(char* to, std::size_t size);

  // The first bytes, at most 64, less only where there are no more; before any is read.
  std::string_view first();

  std::int64_t bytes() const { return bytes_; }  // read so far
  const std::string& name() const { return name_; }

 protected:
  explicit StoredBytes(std::string name) : name_(std::move(name)) {}

 private:
  virtual std::size_t read_more(char* to, std::size_t size) = 0;

  std::string name_, first_;
  bool looked_ = false;
  std::size_t first_taken_ = 0;
  std::int64_t bytes_ = 0;
};

std::unique_ptr<StoredBytes> open_stored_file(const std::filesystem::path& path);

// See open_standard_input in text_source_bytes.h.
std::unique_ptr<StoredBytes> open_stored_input(bool keep, std::function<bool()> stop);

}  // namespace memengine
