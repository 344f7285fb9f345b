// See file.h. Plain POSIX calls: pwrite and pread carry their own offsets, so no file position is
// shared between threads.
#include "io/files/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Smaller files are gone from the cache soon enough.
constexpr std::uint64_t direct_from_bytes = 64u << 20;

[[noreturn]] void fail_system(const char* operation, const fs::path& path, int error) {
  const char* advice = "";
  if (error == ENOSPC || error == EDQUOT) advice = "; free some space or choose another folder";
  if (error == EACCES || error == EROFS) advice = "; check the permissions";
  if (error == ENOENT) advice = "; check the path";
  if (error == EFBIG) advice = "; the system's limit of a file's size (ulimit -f) is too low";
  if (error == EMFILE) advice = "; raise the limit of open files (ulimit -n)";
  fail_input("{}: cannot {}: {}{}", path.string(), operation, std::strerror(error), advice);
}

const char* kind_of(const struct stat& status) {
  if (S_ISDIR(status.st_mode)) return "a folder";
  if (S_ISFIFO(status.st_mode)) return "a FIFO";
  if (S_ISSOCK(status.st_mode)) return "a socket";
  return "a device";
}

// Open files are few in a shell's default (1,024), many in what the system allows: data may have
// thousands of shards.
bool raise_file_limit() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return false;
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

int open_output(const fs::path& path, int flags) {
  const int descriptor =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | flags, 0644);
  if (descriptor < 0 && errno == ELOOP) {
    fail_input("{}: is a symbolic link, which is not written through; remove it", path.string());
  }
  if (descriptor < 0 && errno == ENXIO) {
    fail_input("{}: is not a regular file and cannot be written; remove it", path.string());
  }
  if (descriptor < 0) fail_system("create the file", path, errno);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor);
    fail_input("{}: is not a regular file but {}; remove it", path.string(), kind_of(status));
  }
  return descriptor;
}

}  // namespace

int FileSystem::create(const fs::path& path) {
  if (const int error = fault(Call::create, path).error) {
    fail_system("create the file", path, error);
  }
  return open_output(path, O_TRUNC);
}

int FileSystem::create_or_open(const fs::path& path) {
  if (const int error = fault(Call::create, path).error) {
    fail_system("create the file", path, error);
  }
  return open_output(path, 0);
}

int FileSystem::open_direct(const fs::path& path) {
  return ::open(path.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
}

void FileSystem::reserve(int descriptor, std::uint64_t bytes, const fs::path& path) {
  int error = fault(Call::reserve, path).error;
  if (error == 0 && bytes > 0) {
    while (::fallocate(descriptor, 0, 0, static_cast<off_t>(bytes)) != 0) {
      if (errno == EINTR) continue;
      error = errno;
      break;
    }
  }
  // Not every file system can; then the writes themselves will tell.
  if (error == 0 || error == EOPNOTSUPP || error == ENOSYS || error == EINVAL) return;
  fail_system("reserve disk space", path, error);
}

void FileSystem::write(int descriptor, std::span<const std::byte> bytes, std::uint64_t offset,
                       const fs::path& path) {
  while (!bytes.empty()) {
    const Fault injected = fault(Call::write, path);
    if (injected.error != 0) fail_system("write", path, injected.error);
    const auto size =
        static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), injected.at_most));
    const ssize_t written = ::pwrite(descriptor, bytes.data(), size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_system("write", path, written < 0 ? errno : EIO);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void FileSystem::sync(int descriptor, const fs::path& path) {
  const int injected = fault(Call::sync, path).error;
  if (injected != 0 || ::fsync(descriptor) != 0) {
    fail_system("flush to the disk", path, injected != 0 ? injected : errno);
  }
}

void FileSystem::sync_folder(const fs::path& path) {
  if (const int error = fault(Call::sync_folder, path).error) {
    fail_system("flush the folder to the disk", path, error);
  }
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail_system("open the folder", path, errno);
  const int error = ::fsync(descriptor) == 0 ? 0 : errno;
  ::close(descriptor);
  // Some file systems cannot sync a folder and say so; they have nothing to lose by it.
  if (error != 0 && error != EINVAL) fail_system("flush the folder to the disk", path, error);
}

void FileSystem::close(int descriptor, const fs::path& path) {
  const int injected = fault(Call::close, path).error;
  const int error = ::close(descriptor) == 0 ? 0 : errno;
  if (injected != 0) fail_system("close", path, injected);
  if (error != 0 && error != EINTR) fail_system("close", path, error);
}

void FileSystem::rename(const fs::path& from, const fs::path& to) {
  const int injected = fault(Call::rename, from).error;
  if (injected != 0 || ::rename(from.c_str(), to.c_str()) != 0) {
    const int error = injected != 0 ? injected : errno;
    fail_system(("rename it to " + to.string()).c_str(), from, error);
  }
}

void FileSystem::make_folder(const fs::path& path) {
  std::error_code error;
  if (const int injected = fault(Call::make_folder, path).error) {
    fail_system("make the folder", path, injected);
  }
  fs::create_directories(path, error);
  if (error) fail_system("make the folder", path, error.value());
}

void FileSystem::remove_all(const fs::path& path) {
  std::error_code error;
  if (const int injected = fault(Call::remove_all, path).error) {
    fail_system("remove", path, injected);
  }
  fs::remove_all(path, error);
  if (error) fail_system("remove", path, error.value());
}

std::uint64_t FileSystem::free_bytes(const fs::path& path) {
  const Fault injected = fault(Call::free_bytes, path);
  if (injected.error != 0) fail_system("ask for free space", path, injected.error);
  fs::path existing = fs::absolute(path);
  std::error_code ignored;
  while (!fs::exists(existing, ignored) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  struct statvfs status {};
  if (::statvfs(existing.c_str(), &status) != 0) fail_system("ask for free space", path, errno);
  return std::min(injected.at_most, static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize);
}

FileSystem& FileSystem::real() {
  static FileSystem instance;
  return instance;
}

OutputFile::OutputFile(FileSystem& files, fs::path path) : files_(files), path_(std::move(path)) {
  descriptor_ = files_.create(path_);
}

OutputFile::OutputFile(FileSystem& files, fs::path path, std::uint64_t bytes)
    : OutputFile(files, std::move(path)) {
  files_.reserve(descriptor_, bytes, path_);
  if (bytes >= direct_from_bytes) direct_ = files_.open_direct(path_);
}

OutputFile::~OutputFile() {
  if (direct_ >= 0) ::close(direct_);
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::append(std::span<const std::byte> bytes) {
  files_.write(descriptor_, bytes, size_, path_);
  size_ += bytes.size();
}

void OutputFile::append(std::string_view text) {
  append(std::as_bytes(std::span(text)));
}

void OutputFile::write_at(std::span<const std::byte> bytes, std::uint64_t offset) {
  constexpr std::size_t unit = FileSystem::direct_bytes;
  const bool aligned = bytes.size() % unit == 0 && offset % unit == 0 &&
                       reinterpret_cast<std::uintptr_t>(bytes.data()) % unit == 0;
  files_.write(aligned && direct_ >= 0 ? direct_ : descriptor_, bytes, offset, path_);
}

void OutputFile::finish() {
  files_.sync(descriptor_, path_);
  const int descriptor = descriptor_;
  descriptor_ = -1;
  files_.close(descriptor, path_);
}

InputFile::InputFile(fs::path path) : path_(std::move(path)) {
  constexpr int flags = O_RDONLY | O_NONBLOCK | O_CLOEXEC;
  descriptor_ = ::open(path_.c_str(), flags);
  if (descriptor_ < 0 && errno == EMFILE && raise_file_limit()) {
    descriptor_ = ::open(path_.c_str(), flags);
  }
  if (descriptor_ < 0) fail_system("open the file", path_, errno);
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    fail_input("{}: is not a regular file but {}; name a file", path_.string(), kind_of(status));
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(other.descriptor_), size_(other.size_) {
  other.descriptor_ = -1;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void InputFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  if (offset > size_ || bytes.size() > size_ - offset) {
    fail_input("{}: ends at byte {}, before byte {} + {} that is asked for; the file is cut short",
               path_.string(), size_, offset, bytes.size());
  }
  if (read_some(offset, bytes) < bytes.size()) {
    fail_input("{}: became shorter while being read", path_.string());
  }
}

std::size_t InputFile::read_some(std::uint64_t offset, std::span<std::byte> bytes) const {
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = ::pread(descriptor_, bytes.data() + filled, bytes.size() - filled,
                                static_cast<off_t>(offset + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system("read", path_, errno);
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  return filled;
}

std::string read_text_file(const fs::path& path, std::uint64_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes) {
    fail_input("{}: {} bytes is too large (at most {})", path.string(), file.size(), max_bytes);
  }
  std::string text(file.size(), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void write_file_atomically(FileSystem& files, const fs::path& path, std::string_view text) {
  const fs::path temporary = path.string() + ".tmp";
  OutputFile file(files, temporary);
  file.append(text);
  file.finish();
  try {
    files.rename(temporary, path);  // fails where a folder has this name
  } catch (...) {
    std::error_code ignored;
    fs::remove(temporary, ignored);
    throw;
  }
  files.sync_folder(path.has_parent_path() ? path.parent_path() : fs::path("."));
}

}  // namespace memengine
