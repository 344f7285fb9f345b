// Files written so that a crash at any moment leaves either the old state or the new one.
//
// All operations that change the disk go through one small interface, FileSystem, so that a test
// can make any one of them fail. Every failure is an input error that names the operation, the path
// and the system's reason: a full or broken disk is the user's to mend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace memengine {

// The seam: POSIX by default. Descriptors are the caller's to close. All throw input errors. Safe
// to use from several threads.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Creates or empties a file for writing; returns its descriptor. What stands there already must
  // be a regular file: a symbolic link, a FIFO or a device is not written to.
  int create(const std::filesystem::path& path);
  // The same, of a file that keeps what it holds.
  int create_or_open(const std::filesystem::path& path);
  // A second descriptor of a file that writes past the system's cache, -1 where that cannot be.
  // Blocks for it, their addresses and their offsets are multiples of direct_bytes.
  int open_direct(const std::filesystem::path& path);
  static constexpr std::size_t direct_bytes = 4096;
  // Takes `bytes` of disk for the file, so that a full disk shows before the writing starts.
  void reserve(int descriptor, std::uint64_t bytes, const std::filesystem::path& path);
  // Writes all bytes at an offset (short writes are continued).
  void write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset,
             const std::filesystem::path& path);
  // Flushes a file to the disk; then its folder's entries, for folders.
  void sync(int descriptor, const std::filesystem::path& path);
  void sync_folder(const std::filesystem::path& path);
  // Closing reports errors that the system held back.
  void close(int descriptor, const std::filesystem::path& path);
  void rename(const std::filesystem::path& from, const std::filesystem::path& to);
  void make_folder(const std::filesystem::path& path);
  void remove_all(const std::filesystem::path& path);
  // Bytes an unprivileged process may still write on the path's disk; the path, or a folder above
  // it, exists.
  std::uint64_t free_bytes(const std::filesystem::path& path);

  // The real disk.
  static FileSystem& real();

 protected:
  enum class Call {
    create,
    reserve,
    write,
    sync,
    sync_folder,
    close,
    rename,
    make_folder,
    remove_all,
    free_bytes
  };
  // What a test makes of the system call that comes next: with an error it is not made and fails
  // like that; of a write at most `at_most` bytes are written, of free space so much is reported.
  struct Fault {
    int error = 0;
    std::uint64_t at_most = UINT64_MAX;
  };
  virtual Fault fault(Call /*call*/, const std::filesystem::path& /*path*/) { return {}; }
};

// A new file. Unless `finish` was called it is left as it is, closed.
class OutputFile {
 public:
  OutputFile(FileSystem& files, std::filesystem::path path);
  // Of a size known before: takes the disk it needs, and writes whole blocks past the system's
  // cache, where the file system can.
  OutputFile(FileSystem& files, std::filesystem::path path, std::uint64_t bytes);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void append(std::span<const std::byte> bytes);
  void append(std::string_view text);
  // At any offset, from several threads.
  void write_at(std::span<const std::byte> bytes, std::uint64_t offset);
  std::uint64_t size() const { return size_; }  // appended so far
  const std::filesystem::path& path() const { return path_; }
  // Flushes to the disk and closes.
  void finish();

 private:
  FileSystem& files_;
  std::filesystem::path path_;
  int descriptor_ = -1;
  int direct_ = -1;
  std::uint64_t size_ = 0;
};

// A file read at any offset by any thread: the one way in which files from outside are opened. It
// must be a regular one. Opening never waits: a FIFO without a writer, a device and a folder are
// input errors at once.
class InputFile {
 public:
  explicit InputFile(std::filesystem::path path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&&) = delete;

  std::uint64_t size() const { return size_; }  // when it was opened
  const std::filesystem::path& path() const { return path_; }
  // Fills `bytes` from an offset; input error where the file ends before.
  void read(std::uint64_t offset, std::span<std::byte> bytes) const;
  // Fills as much of `bytes` as there is, for files that may grow; returns how much, 0 at the end.
  std::size_t read_some(std::uint64_t offset, std::span<std::byte> bytes) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
};

// The whole of a small file; input error when it is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// Replaces a file as a whole: written beside it, synced, renamed over it, folder synced.
void write_file_atomically(FileSystem& files, const std::filesystem::path& path,
                           std::string_view text);

}  // namespace memengine
