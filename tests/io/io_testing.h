// What the io tests share: a folder that disappears (temporary_folder.h), errors as text, and a
// disk that fails on demand.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <string>
#include <vector>

#include "io/files/file.h"
#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine::testing_io {

using memengine::TemporaryFolder;

// The message of the input error that a call throws, which must be one line; "no error" otherwise.
template <typename Function>
std::string input_error_of(Function function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void spill(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

// A disk whose system call number `fail_at` (counted from 0) fails with `error`. With `half` a
// failing write writes a few bytes first, as a full disk does. `room`: the free space it reports.
class FaultyFileSystem : public FileSystem {
 public:
  explicit FaultyFileSystem(int fail_at, bool half = false, int error = EIO)
      : fail_at_(fail_at), half_(half), error_(error) {}

  int operations() const { return count_; }
  std::uint64_t room = UINT64_MAX;
  // No write takes more than so many bytes.
  std::uint64_t most_bytes = UINT64_MAX;

 protected:
  Fault fault(Call call, const std::filesystem::path& /*path*/) override {
    if (call == Call::free_bytes) return {0, room};
    const std::lock_guard lock(mutex_);  // several threads write
    const int number = count_++;
    if (number != fail_at_) return {0, most_bytes};
    if (call == Call::write && half_) {  // the next call fails, whose ever it is
      half_ = false;
      --count_;
      return {0, 7};
    }
    return {error_};
  }

 private:
  int fail_at_;
  bool half_;
  int error_;
  std::atomic<int> count_{0};
  std::mutex mutex_;
};

}  // namespace memengine::testing_io
