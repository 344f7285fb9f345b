// A file that hands out only bytes whose block matches its checksum.
#pragma once

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {

// read_block() is safe from several threads, read() is not: a block that a read covers wholly goes
// straight to its destination; of the others the last one is kept, so that reading on does not
// fetch it again.
class VerifiedFile {
 public:
  // Without `verify` checksums are not compared.
  VerifiedFile(const std::filesystem::path& path, BlockChecksums sums, bool verify = true)
      : file_(path), sums_(std::move(sums)), verify_(verify) {
    if (file_.size() != sums_.bytes) {
      fail_input("{}: has {} bytes where its checksums cover {}; it is damaged", path.string(),
                 file_.size(), sums_.bytes);
    }
  }

  std::uint64_t size() const { return sums_.bytes; }
  std::size_t block_of(std::uint64_t offset) const { return offset / sums_.block_bytes; }
  std::uint64_t block_begin(std::size_t block) const { return block * sums_.block_bytes; }
  std::size_t blocks() const { return sums_.blocks.size(); }

  std::size_t block_size(std::size_t block) const {
    return std::min(sums_.block_bytes, sums_.bytes - block * sums_.block_bytes);
  }

  void read_block(std::size_t block, std::span<std::byte> bytes) const {
    try {
      file_.read(block_begin(block), bytes);
    } catch (const Error& error) {
      throw DamagedCheckpoint(error.what());
    }
    if (verify_ && block_checksum(bytes) != sums_.blocks[block]) {
      throw DamagedCheckpoint(format_text(
          "{}: bytes {} to {} do not match their checksum; the file is damaged",
          file_.path().string(), block_begin(block), block_begin(block) + bytes.size() - 1));
    }
  }

  void read(std::uint64_t offset, std::span<std::byte> bytes) {
    if (offset > size() || bytes.size() > size() - offset) {
      fail_input("{}: ends before byte {} + {}", file_.path().string(), offset, bytes.size());
    }
    while (!bytes.empty()) {
      const std::size_t block = offset / sums_.block_bytes;
      const std::size_t start = offset % sums_.block_bytes;
      const std::size_t part = std::min(bytes.size(), block_size(block) - start);
      if (part == block_size(block)) {
        read_block(block, bytes.first(part));
      } else {
        if (kept_block_ != block) {
          kept_block_ = SIZE_MAX;
          kept_.resize(block_size(block));
          read_block(block, kept_);
          kept_block_ = block;
        }
        std::memcpy(bytes.data(), kept_.data() + start, part);
      }
      bytes = bytes.subspan(part);
      offset += part;
    }
  }

 private:
  InputFile file_;
  BlockChecksums sums_;
  bool verify_;
  std::vector<std::byte> kept_;
  std::size_t kept_block_ = SIZE_MAX;
};

}  // namespace memengine
