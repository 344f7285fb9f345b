// What the io tests share: a folder that disappears, errors as text, and a disk that fails on
// demand.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/runtime/error.h"
#include "io/file.h"

namespace memengine::testing_io {

class TemporaryFolder {
 public:
  TemporaryFolder() {
    static std::atomic<int> count{0};
    // In memory where the system offers it: these tests flush thousands of small files.
    const std::filesystem::path memory = "/dev/shm";
    path_ =
        (::access(memory.c_str(), W_OK) == 0 ? memory : std::filesystem::temp_directory_path()) /
        ("memengine-" + std::to_string(::getpid()) + "-" + std::to_string(count++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

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

// A disk whose operation number `fail_at` (counted from 0) fails. With `half` a failing write
// writes half of its bytes first, as a full disk does.
class FaultyFileSystem : public FileSystem {
 public:
  explicit FaultyFileSystem(int fail_at, bool half = false) : fail_at_(fail_at), half_(half) {}

  int operations() const { return count_; }
  std::uint64_t room = UINT64_MAX;

  int create(const std::filesystem::path& path) override {
    step("create");
    return FileSystem::create(path);
  }
  void write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset,
             const std::filesystem::path& path) override {
    if (count_ == fail_at_ && half_) {
      FileSystem::write(descriptor, bytes.first(bytes.size() / 2), offset, path);
    }
    step("write");
    FileSystem::write(descriptor, bytes, offset, path);
  }
  void sync(int descriptor, const std::filesystem::path& path) override {
    step("sync");
    FileSystem::sync(descriptor, path);
  }
  void sync_folder(const std::filesystem::path& path) override {
    step("sync_folder");
    FileSystem::sync_folder(path);
  }
  void close(int descriptor, const std::filesystem::path& path) override {
    FileSystem::close(descriptor, path);
    step("close");
  }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    step("rename");
    FileSystem::rename(from, to);
  }
  void make_folder(const std::filesystem::path& path) override {
    step("make_folder");
    FileSystem::make_folder(path);
  }
  void remove_all(const std::filesystem::path& path) override {
    step("remove_all");
    FileSystem::remove_all(path);
  }
  std::uint64_t free_bytes(const std::filesystem::path& path) override {
    return std::min(room, FileSystem::free_bytes(path));
  }

 private:
  void step(const char* operation) {
    if (count_++ == fail_at_) fail_input("injected fault in {}", operation);
  }

  int fail_at_;
  bool half_;
  int count_ = 0;
};

}  // namespace memengine::testing_io
