// zlib and libzstd do the work; both formats may hold several streams one behind the other, and
// both must end where a stream ends.
#include "io/text/text_source_bytes.h"

#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

class PlainStream final : public ByteStream {
 public:
  explicit PlainStream(const std::filesystem::path& path)
      : name_(path.string()), file_(std::fopen(path.c_str(), "rb")) {
    if (!file_) fail_input("cannot open {}: {}", name_, std::strerror(errno));
    std::setvbuf(file_, nullptr, _IONBF, 0);  // whoever reads has a buffer
  }
  ~PlainStream() override { std::fclose(file_); }

  std::size_t read(char* to, std::size_t size) override {
    const std::size_t got = std::fread(to, 1, size, file_);
    if (got == 0 && std::ferror(file_)) {
      fail_input("cannot read {}: {}", name_, std::strerror(errno));
    }
    bytes_ += static_cast<std::int64_t>(got);
    return got;
  }

  std::int64_t stored_bytes() const override { return bytes_; }

 private:
  std::string name_;
  std::FILE* file_;
  std::int64_t bytes_ = 0;
};

class GzipStream final : public ByteStream {
 public:
  explicit GzipStream(const std::filesystem::path& path) : stored_(path), name_(path.string()) {
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
        zlib_.avail_in = static_cast<uInt>(stored_.read(input_.data(), input_.size()));
        if (zlib_.avail_in == 0) {
          if (!between_members_) fail_input("{} is truncated: gzip data ends early", name_);
          return 0;
        }
      }
      between_members_ = false;
      const int result = inflate(&zlib_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        inflateReset(&zlib_);
        between_members_ = true;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        fail_input("{} is damaged: {}", name_, zlib_.msg ? zlib_.msg : "not gzip data");
      }
    }
    return wanted - zlib_.avail_out;
  }

  std::int64_t stored_bytes() const override { return stored_.stored_bytes(); }

 private:
  PlainStream stored_;
  std::string name_;
  z_stream zlib_ = {};
  std::vector<char> input_ = std::vector<char>(256 << 10);
  bool between_members_ = false;
};

class ZstdStream final : public ByteStream {
 public:
  explicit ZstdStream(const std::filesystem::path& path)
      : stored_(path), name_(path.string()), zstd_(ZSTD_createDStream()) {
    if (!zstd_) fail_internal("libzstd cannot start");
  }
  ~ZstdStream() override { ZSTD_freeDStream(zstd_); }

  std::size_t read(char* to, std::size_t size) override {
    ZSTD_outBuffer out = {to, size, 0};
    while (out.pos == 0) {
      if (in_.pos == in_.size && !more_inside_) {
        in_ = {input_.data(), stored_.read(input_.data(), input_.size()), 0};
        if (in_.size == 0) {
          if (!between_frames_) fail_input("{} is truncated: zstd data ends early", name_);
          return 0;
        }
      }
      const std::size_t result = ZSTD_decompressStream(zstd_, &out, &in_);
      if (ZSTD_isError(result)) {
        fail_input("{} is damaged: {}", name_, ZSTD_getErrorName(result));
      }
      between_frames_ = result == 0;
      more_inside_ = out.pos == out.size && result != 0;  // the decoder may hold more output
    }
    return out.pos;
  }

  std::int64_t stored_bytes() const override { return stored_.stored_bytes(); }

 private:
  PlainStream stored_;
  std::string name_;
  ZSTD_DStream* zstd_;
  std::vector<char> input_ = std::vector<char>(256 << 10);
  ZSTD_inBuffer in_ = {nullptr, 0, 0};
  bool between_frames_ = false, more_inside_ = false;
};

}  // namespace

std::unique_ptr<ByteStream> open_byte_stream(const std::filesystem::path& path) {
  const auto kind = path.extension();
  if (kind == ".gz") return std::make_unique<GzipStream>(path);
  if (kind == ".zst") return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path);
}

}  // namespace memengine
