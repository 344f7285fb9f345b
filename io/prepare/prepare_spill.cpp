// A record is key (8 bytes), length in bytes (8), token bytes. Keys are unique, so sorting by key
// gives one order only, whatever the order in which threads appended.
#include "io/prepare/prepare_spill.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>

#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t spill_buffer_bytes = 64 << 10;
constexpr int split_bits = 4;  // a file that is too large is split in 16

struct RecordHead {
  std::uint64_t key = 0, bytes = 0;
};

std::filesystem::path spill_path(const std::filesystem::path& folder, std::size_t i) {
  return folder / fmt::format("{:03}.spill", i);
}

}  // namespace

struct SpillFiles::File {
  std::filesystem::path path;
  int descriptor = -1;
  std::int64_t length = 0;
  std::vector<std::uint8_t> buffer;
  std::mutex mutex;

  void flush() {
    write(buffer);
    buffer.clear();
  }

  void write(std::span<const std::uint8_t> bytes) {
    const std::uint8_t* from = bytes.data();
    for (std::size_t left = bytes.size(); left > 0;) {
      const ssize_t written = ::write(descriptor, from, left);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail_input("cannot write {}: {}", path.string(), std::strerror(errno));
      from += written;
      left -= static_cast<std::size_t>(written);
    }
    length += static_cast<std::int64_t>(bytes.size());
  }
  ~File() {
    if (descriptor >= 0) ::close(descriptor);
  }
};

SpillFiles::SpillFiles(const std::filesystem::path& folder, int skip, int bits,
                       const std::vector<std::int64_t>* lengths)
    : skip_(skip), bits_(bits) {
  std::filesystem::create_directories(folder);
  for (std::size_t i = 0; i < std::size_t{1} << bits; ++i) {
    auto file = std::make_unique<File>();
    file->path = spill_path(folder, i);
    file->descriptor = FileSystem::real().create_or_open(file->path);
    file->length = lengths ? (*lengths)[i] : 0;
    if (::ftruncate(file->descriptor, file->length) != 0 ||
        ::lseek(file->descriptor, 0, SEEK_END) < 0) {
      fail_input("cannot write {}: {}", file->path.string(), std::strerror(errno));
    }
    files_.push_back(std::move(file));
  }
}

SpillFiles::~SpillFiles() = default;

void SpillFiles::append(std::uint64_t key, std::span<const std::uint8_t> tokens) {
  File& file = *files_[bits_ == 0 ? 0 : (key << skip_) >> (64 - bits_)];
  const RecordHead head = {key, tokens.size()};
  const auto* head_bytes = reinterpret_cast<const std::uint8_t*>(&head);
  const std::lock_guard lock(file.mutex);
  file.buffer.insert(file.buffer.end(), head_bytes, head_bytes + sizeof head);
  if (tokens.size() >= spill_buffer_bytes) {  // no buffer grows with the largest document
    file.flush();
    file.write(tokens);
    return;
  }
  file.buffer.insert(file.buffer.end(), tokens.begin(), tokens.end());
  if (file.buffer.size() >= spill_buffer_bytes) file.flush();
}

std::vector<std::int64_t> SpillFiles::flush() {
  std::vector<std::int64_t> lengths;
  for (const auto& file : files_) {
    const std::lock_guard lock(file->mutex);
    file->flush();
    if (::fdatasync(file->descriptor) != 0) {
      fail_input("cannot write {}: {}", file->path.string(), std::strerror(errno));
    }
    lengths.push_back(file->length);
  }
  return lengths;
}

namespace {

[[noreturn]] void fail_damaged(const std::filesystem::path& path) {
  fail_input("{}: is damaged; remove the folder {} and prepare again", path.string(),
             path.parent_path().parent_path().string());
}

// Reads record after record; `each` gets key and tokens.
void read_records(const std::filesystem::path& path,
                  const std::function<void(std::uint64_t, std::span<const std::uint8_t>)>& each) {
  const InputFile file(path);
  std::vector<std::uint8_t> tokens;
  RecordHead head;
  for (std::uint64_t at = 0; at < file.size(); at += head.bytes) {
    if (file.size() - at < sizeof head) fail_damaged(path);
    file.read(at, std::as_writable_bytes(std::span(&head, 1)));
    at += sizeof head;
    if (file.size() - at < head.bytes) fail_damaged(path);
    tokens.resize(head.bytes);
    file.read(at, std::as_writable_bytes(std::span(tokens)));
    each(head.key, tokens);
  }
}

// Sorts one file in memory: an index of (key, place) is sorted, the tokens stay where they are.
void drain_sorted(const std::filesystem::path& path, std::int64_t length,
                  const std::function<void(std::span<const std::uint8_t>)>& each) {
  struct Place {
    std::uint64_t key, first, bytes;
  };
  std::vector<std::uint8_t> content(static_cast<std::size_t>(length));
  InputFile(path).read(0, std::as_writable_bytes(std::span(content)));
  std::vector<Place> places;
  for (std::size_t at = 0; at < content.size();) {
    RecordHead head;
    if (content.size() - at < sizeof head) fail_damaged(path);
    std::memcpy(&head, content.data() + at, sizeof head);
    at += sizeof head;
    if (content.size() - at < head.bytes) fail_damaged(path);
    places.push_back({head.key, at, head.bytes});
    at += head.bytes;
  }
  std::sort(places.begin(), places.end(),
            [](const Place& a, const Place& b) { return a.key < b.key; });
  for (const Place& place : places) each({content.data() + place.first, place.bytes});
}

}  // namespace

bool has_spill_files(const std::filesystem::path& folder,
                     const std::vector<std::int64_t>& lengths) {
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(spill_path(folder, i), error);
    if (error || lengths[i] < 0 || bytes < static_cast<std::uint64_t>(lengths[i])) return false;
  }
  return true;
}

bool drain_spill(const std::filesystem::path& folder, int skip, int bits, std::int64_t memory_bytes,
                 const std::function<void(std::span<const std::uint8_t>)>& each,
                 const std::function<bool()>& stop) {
  for (std::size_t i = 0; i < std::size_t{1} << bits; ++i) {
    if (stop && stop()) return false;
    const auto path = spill_path(folder, i);
    const auto length = static_cast<std::int64_t>(std::filesystem::file_size(path));
    const int next_skip = skip + bits;
    if (length <= memory_bytes || next_skip + split_bits >= 64) {
      drain_sorted(path, length, each);
      continue;
    }
    const auto below = folder / fmt::format("{:03}.split", i);
    {
      SpillFiles split(below, next_skip, split_bits);
      read_records(path, [&](std::uint64_t key, std::span<const std::uint8_t> tokens) {
        split.append(key, tokens);
      });
      split.flush();
    }
    if (!drain_spill(below, next_skip, split_bits, memory_bytes, each, stop)) return false;
    std::filesystem::remove_all(below);
  }
  return true;
}

}  // namespace memengine
