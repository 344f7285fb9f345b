// A file of bytes, decompressed as it is read: plain, gzip or Zstandard, by its first bytes.
//
// Names do not matter: a .zst that is none is read as it is. A Zstandard stream takes its window as
// memory while it is read: at most 8 MiB as `zstd` writes by default, 128 MiB of --ultra -22, 2 GiB
// of --long=31, which is the most that the format's tools write; a larger one is an input error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
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

// Opens `path`; a file that cannot be opened is an input error, and so is one whose first bytes say
// that it is compressed in another way, an archive, or a Parquet file.
std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path);

// Standard input, which begins where the last stream over it stopped. While it waits for bytes,
// `stop` is asked a few times per second; true: the stream ends there. With `keep`, what is read is
// also kept in memory, and the next stream begins with it once more; after kept_bytes it ends.
inline constexpr std::size_t kept_bytes = std::size_t{1} << 30;
std::unique_ptr<ByteStream> open_standard_input(bool keep, std::function<bool()> stop);

}  // namespace memengine
