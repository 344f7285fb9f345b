// A file of bytes, decompressed as it is read: plain, gzip (.gz) or Zstandard (.zst) by its name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

namespace memengine {

class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Overwrites up to `size` bytes at `to`; returns how many, 0 only at the end. A damaged or
  // truncated compressed file is an input error.
  virtual std::size_t read(char* to, std::size_t size) = 0;

  // How many bytes of the stored file were consumed so far.
  virtual std::int64_t stored_bytes() const = 0;
};

// Opens `path`; a file that cannot be opened is an input error.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

}  // namespace memengine
