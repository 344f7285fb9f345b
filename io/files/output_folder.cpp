// See output_folder.h. The mark's first line is written once, with one call, and never touched
// again: a process that is killed leaves it whole or leaves the file empty, which counts as none.
#include "io/files/output_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view mark_name = ".memengine";
constexpr std::string_view mark_start = "memengine ";
constexpr std::size_t id_digits = 16;
constexpr std::string_view own_entries[] = {mark_name, "lost+found"};  // of an empty folder

std::string new_id() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

std::string first_line(const FolderMark& mark) {
  return fmt::format("{}{} {}\n", mark_start, mark.id, mark.kind);
}

std::optional<FolderMark> parse_mark(std::string_view text) {
  const std::size_t end = text.find('\n');
  if (end == text.npos || !text.starts_with(mark_start)) return std::nullopt;
  const std::string_view rest = text.substr(mark_start.size(), end - mark_start.size());
  if (rest.size() < id_digits + 2 || rest[id_digits] != ' ') return std::nullopt;
  FolderMark mark{std::string(rest.substr(0, id_digits)), std::string(rest.substr(id_digits + 1))};
  if (mark.id.find_first_not_of("0123456789abcdef") != mark.id.npos) return std::nullopt;
  return mark;
}

std::string read_start(int descriptor) {
  std::array<char, 512> text{};
  const ssize_t length = ::pread(descriptor, text.data(), text.size(), 0);
  return {text.data(), length > 0 ? static_cast<std::size_t>(length) : 0};
}

[[noreturn]] void fail(const fs::path& path, const char* what, int error) {
  fail_input("{}: cannot {}: {}; check the path and its permissions, or name another folder",
             path.string(), what, std::strerror(error));
}

}  // namespace

std::optional<FolderMark> read_folder_mark(const fs::path& folder) {
  const int descriptor =
      ::open((folder / mark_name).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) return std::nullopt;
  const std::string text = read_start(descriptor);
  ::close(descriptor);
  return parse_mark(text);
}

OutputFolder::OutputFolder(const fs::path& folder, std::string_view kind,
                           const std::function<bool()>& is_older)
    : folder_(folder), mark_{{}, std::string(kind)} {
  std::error_code error;
  was_there_ = fs::exists(folder_, error);
  if (was_there_ && !fs::is_directory(folder_, error)) {
    fail_input("{}: is a file, not a folder; name another folder", folder_.string());
  }
  is_older_ = is_older && is_older();
  FileSystem::real().make_folder(folder_);
  try {
    while (!lock()) continue;
  } catch (...) {
    if (descriptor_ >= 0) ::close(descriptor_);
    if (!was_there_) ::rmdir(folder_.c_str());  // only where it is empty
    throw;
  }
}

// False when the mark was taken away before it was locked, by a holder that went.
bool OutputFolder::lock() {
  const fs::path path = folder_ / mark_name;
  constexpr int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  descriptor_ = ::open(path.c_str(), flags);
  if (descriptor_ < 0 && errno == ENOENT) {
    check_entries();
    descriptor_ = ::open(path.c_str(), flags | O_CREAT, 0644);
  }
  struct stat mine {};
  struct stat named {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &mine) != 0) fail(path, "open the mark", errno);
  if (!S_ISREG(mine.st_mode)) fail_input("{}: is not a regular file; remove it", path.string());
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail(path, "lock", errno);
    const std::string text = read_start(descriptor_);
    const std::size_t line = std::min(text.find('\n'), text.size());
    const std::size_t end = text.find('\n', line + 1);
    const bool named_holder = line < text.size() && end != text.npos;
    fail_input("{}: another run uses this folder ({}); wait for it, stop it or name another folder",
               folder_.string(),
               named_holder ? text.substr(line + 1, end - line - 1) : "unknown process");
  }
  if (::lstat(path.c_str(), &named) != 0 || named.st_ino != mine.st_ino) {
    ::close(descriptor_);
    descriptor_ = -1;
    return false;
  }
  const std::string text = read_start(descriptor_);
  if (text.empty()) {
    check_entries();
    mark_.id = new_id();
  } else {
    const auto found = parse_mark(text);
    if (!found) {
      fail_input("{}: is not of this program: name a new or an empty folder, or remove it",
                 path.string());
    }
    if (found->kind != mark_.kind) {
      fail_input("{}: is the folder of another kind of work ({}, not {}): name another folder",
                 folder_.string(), found->kind, mark_.kind);
    }
    mark_ = *found;
    was_ours_ = true;
  }
  char host[256] = "unknown";
  ::gethostname(host, sizeof(host) - 1);
  const std::string line = first_line(mark_);
  const std::string holder = fmt::format("process {} on {}\n", ::getpid(), host);
  const std::string whole = (was_ours_ ? "" : line) + holder;
  const std::size_t at = was_ours_ ? line.size() : 0;
  if (::pwrite(descriptor_, whole.data(), whole.size(), static_cast<off_t>(at)) !=
          static_cast<ssize_t>(whole.size()) ||
      ::ftruncate(descriptor_, static_cast<off_t>(at + whole.size())) != 0) {
    const int error = errno;
    if (!was_ours_) ::unlink(path.c_str());
    fail(path, "write the mark", error);
  }
  return true;
}

// Refuses a folder without a mark that is not empty.
void OutputFolder::check_entries() const {
  if (is_older_) return;
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (std::find(std::begin(own_entries), std::end(own_entries), name) == std::end(own_entries)) {
      names.push_back(name);
    }
  }
  if (error) fail(folder_, "list the folder", error.value());
  if (names.empty()) return;
  fail_input(
      "{}: holds '{}' and is not the folder of a {} of this program: name a new or an empty "
      "folder, or move what is there",
      folder_.string(), *std::min_element(names.begin(), names.end()), mark_.kind);
}

OutputFolder::~OutputFolder() {
  std::error_code error;
  if (!was_ours_ && !is_older_) {
    bool used = false;
    for (fs::directory_iterator at(folder_, error), end; !error && at != end; at.increment(error)) {
      used = used || at->path().filename() != mark_name;
    }
    if (!used && !error) {
      ::unlink((folder_ / mark_name).c_str());
      if (!was_there_) ::rmdir(folder_.c_str());
    }
  }
  ::close(descriptor_);
}

}  // namespace memengine
