// zlib and libzstd do the work; both formats may hold several streams one after the other, and both
// must end where a stream ends.
#include "io/text/text_source_bytes.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/lfs_pointer.h"
#include "io/text/one_line.h"
#include "io/text/stored_bytes.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr int largest_window_log = 31;
constexpr std::string_view gzip_magic = "\x1F\x8B", zstd_magic = "\x28\xB5\x2F\xFD";

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(std::unique_ptr<StoredBytes> stored) : stored_(std::move(stored)) {}

  std::size_t read(char* to, std::size_t size) override { return stored_->read(to, size); }
  std::int64_t stored_bytes() const override { return stored_->bytes(); }

 private:
  std::unique_ptr<StoredBytes> stored_;
};

class GzipStream final : public ByteStream {
 public:
  explicit GzipStream(std::unique_ptr<StoredBytes> stored) : stored_(std::move(stored)) {
    if (inflateInit2(&zlib_, 15 + 16) != Z_OK) fail_internal("zlib cannot start");
  }
  ~GzipStream() override { inflateEnd(&zlib_); }

  std::size_t read(char* to, std::size_t size) override {
    zlib_.next_out = reinterpret_cast<Bytef*>(to);
    zlib_.avail_out = static_cast<uInt>(std::min<std::size_t>(size, 1u << 30));
    const uInt wanted = zlib_.avail_out;
    while (zlib_.avail_out == wanted) {
      if (zlib_.avail_in == 0) {
        zlib_.next_in = reinterpret_cast<Bytef*>(input_.data());
        zlib_.avail_in = static_cast<uInt>(stored_->read(input_.data(), input_.size()));
        if (zlib_.avail_in == 0) {
          if (!between_members_) {
            fail_input("{} is truncated: gzip data ends early", stored_->name());
          }
          return 0;
        }
      }
      between_members_ = false;
      const int result = inflate(&zlib_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        inflateReset(&zlib_);
        between_members_ = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        fail_input("{} is damaged: {}", stored_->name(), zlib_.msg ? zlib_.msg : "not gzip data");
      }
    }
    return wanted - zlib_.avail_out;
  }

  std::int64_t stored_bytes() const override { return stored_->bytes(); }

 private:
  std::unique_ptr<StoredBytes> stored_;
  z_stream zlib_ = {};
  std::vector<char> input_ = std::vector<char>(256 << 10);
  bool between_members_ = false;
};

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(std::unique_ptr<StoredBytes> stored)
      : stored_(std::move(stored)), zstd_(ZSTD_createDStream()) {
    if (!zstd_ ||
        ZSTD_isError(ZSTD_DCtx_setParameter(zstd_, ZSTD_d_windowLogMax, largest_window_log))) {
      fail_internal("libzstd cannot start");
    }
  }
  ~ZstdStream() override { ZSTD_freeDStream(zstd_); }

  std::size_t read(char* to, std::size_t size) override {
    ZSTD_outBuffer out = {to, size, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !more_inside_) {
        in_ = {input_.data(), stored_->read(input_.data(), input_.size()), 0};
        if (in_.size == 0) {
          if (!between_frames_) {
            fail_input("{} is truncated: zstd data ends early", stored_->name());
          }
          return 0;
        }
      }
      const std::size_t result = ZSTD_decompressStream(zstd_, &out, &in_);
      if (ZSTD_isError(result)) refuse(ZSTD_getErrorName(result));
      between_frames_ = result == 0;
      more_inside_ = out.pos == out.size && result != 0;  // the decoder may hold more output
    }
    return out.pos;
  }

  std::int64_t stored_bytes() const override { return stored_->bytes(); }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    if (why.find("not enough memory") != why.npos) {
      fail_input(
          "{}: no memory for its Zstandard window, which takes up to 2 GiB where a file was made "
          "with --long=31",
          stored_->name());
    }
    if (why.find("too much memory") != why.npos) {
      fail_input("{}: its Zstandard window is larger than 2 GiB (--long=31), the most this reads",
                 stored_->name());
    }
    fail_input("{} is damaged: {}", stored_->name(), why);
  }

  std::unique_ptr<StoredBytes> stored_;
  ZSTD_DStream* zstd_;
  std::vector<char> input_ = std::vector<char>(256 << 10);
  ZSTD_inBuffer in_ = {nullptr, 0, 0};
  bool between_frames_ = false, more_inside_ = false;
};

// What is no text, by its first bytes, and how its text is got at.
void refuse_other_formats(std::string_view first, const std::string& name) {
  static const struct {
    std::string_view magic;
    const char *what, *advice;
  } formats[] = {
      {{"\xFD"
        "7zXZ\0",
        6},
       "compressed with xz",
       "`xz -dc FILE | memengine prepare -` reads it"},
      {"BZh", "compressed with bzip2", "`bzip2 -dc FILE | memengine prepare -` reads it"},
      {"\x04\x22\x4D\x18", "compressed with lz4", "`lz4 -dc FILE | memengine prepare -` reads it"},
      {lfs_pointer_begin, "a Git LFS pointer, not the file itself", "fetch it with `git lfs pull`"},
      {"PK\x03\x04", "a zip archive", "unpack it first"},
      {"PAR1", "a Parquet file", "stream it as JSON lines into `memengine prepare -`"},
      {"ARROW1", "an Arrow file", "stream it as JSON lines into `memengine prepare -`"},
      {"%PDF-", "a PDF", "extract its text first"},
  };
  for (const auto& format : formats) {
    if (first.starts_with(format.magic)) {
      fail_input("{} is {}: {}", name, format.what, format.advice);
    }
  }
}

// A file that is called compressed but has no room for any data was cut off.
void refuse_stumps(std::string_view first, const std::filesystem::path& path,
                   const std::string& name) {
  const auto ending = path.extension();
  const std::string_view magic = ending == ".gz"    ? gzip_magic
                                 : ending == ".zst" ? zstd_magic
                                                    : std::string_view();
  if (first.size() < magic.size() && magic.starts_with(first)) {
    fail_input("{} is truncated: it has {} bytes", name, first.size());
  }
}

bool is_zstd(std::string_view first) {
  const bool skippable = first.size() >= 4 && (first[0] & 0xF0) == 0x50 &&
                         first.substr(1, 3) == "\x2A\x4D\x18";  // a frame without data comes first
  return first.starts_with(zstd_magic) || skippable;
}

std::unique_ptr<ByteStream> decompressed(std::unique_ptr<StoredBytes> stored) {
  const std::string_view first = stored->first();
  refuse_other_formats(first, stored->name());
  if (first.starts_with(gzip_magic)) return std::make_unique<GzipStream>(std::move(stored));
  if (is_zstd(first)) return std::make_unique<ZstdStream>(std::move(stored));
  return std::make_unique<PlainStream>(std::move(stored));
}

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path) {
  std::unique_ptr<StoredBytes> stored = open_stored_file(path);
  refuse_stumps(stored->first(), path, stored->name());
  return decompressed(std::move(stored));
}

std::unique_ptr<ByteStream> open_standard_input(bool keep, std::function<bool()> stop) {
  return decompressed(open_stored_input(keep, std::move(stop)));
}

}  // namespace memengine
