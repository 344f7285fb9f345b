// System calls, and the memory of standard input.
#include "io/text/stored_bytes.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "io/files/file.h"
#include "io/text/one_line.h"
#include "io/text/text_source_bytes.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t first_bytes = 64;
constexpr int poll_milliseconds = 200;

class StoredFile final : public StoredBytes {
 public:
  explicit StoredFile(const std::filesystem::path& path)
      : StoredBytes(one_line(path.string(), 4096)), file_(path) {}

 private:
  std::size_t read_more(char* to, std::size_t size) override {
    const std::size_t got = file_.read_some(at_, std::as_writable_bytes(std::span(to, size)));
    at_ += got;
    return got;
  }

  InputFile file_;
  std::uint64_t at_ = 0;
};

// What was read of standard input and may be asked for again: a process has only one.
std::string& kept_input() {
  static std::string kept;
  return kept;
}

class StandardInput final : public StoredBytes {
 public:
  StandardInput(bool keep, std::function<bool()> stop)
      : StoredBytes("standard input"), keep_(keep), stop_(std::move(stop)) {
    if (!keep) again_.swap(kept_input());
  }

 private:
  std::size_t read_more(char* to, std::size_t size) override {
    if (at_ < again_.size()) {
      const std::size_t count = again_.copy(to, size, at_);
      at_ += count;
      if (at_ == again_.size()) again_ = {}, at_ = 0;
      return count;
    }
    if (keep_) size = std::min(size, kept_bytes - kept_input().size());
    if (size == 0) return 0;
    for (;;) {
      pollfd waiting = {STDIN_FILENO, POLLIN, 0};
      const int ready = ::poll(&waiting, 1, poll_milliseconds);
      if (stop_ && stop_()) return 0;
      if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
      const ssize_t got = ::read(STDIN_FILENO, to, size);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got < 0) fail_input("cannot read standard input: {}", std::strerror(errno));
      if (keep_) kept_input().append(to, static_cast<std::size_t>(got));
      return static_cast<std::size_t>(got);
    }
  }

  bool keep_;
  std::function<bool()> stop_;
  std::string again_;  // kept before, to be read once more
  std::size_t at_ = 0;
};

}  // namespace

std::string_view StoredBytes::first() {
  if (looked_) return first_;
  looked_ = true;
  first_.resize(first_bytes);
  std::size_t have = 0;
  while (have < first_bytes) {
    const std::size_t got = read_more(first_.data() + have, first_bytes - have);
    if (got == 0) break;
    have += got;
  }
  first_.resize(have);
  return first_;
}

std::size_t StoredBytes::read(char* to, std::size_t size) {
  std::size_t got = 0;
  if (first_taken_ < first_.size()) {
    got = first_.copy(to, size, first_taken_);
    first_taken_ += got;
  } else {
    got = read_more(to, size);
  }
  bytes_ += static_cast<std::int64_t>(got);
  return got;
}

std::unique_ptr<StoredBytes> open_stored_file(const std::filesystem::path& path) {
  return std::make_unique<StoredFile>(path);
}

std::unique_ptr<StoredBytes> open_stored_input(bool keep, std::function<bool()> stop) {
  return std::make_unique<StandardInput>(keep, std::move(stop));
}

}  // namespace memengine
