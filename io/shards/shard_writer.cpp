// A buffered file under a temporary name, with the checksum kept on the way. The header is hashed
// after the tokens because only then it is known; so one pass is enough.
#include "io/shards/shard_writer.h"

#include <fcntl.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <vector>

#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t shard_buffer_bytes = 1 << 20;

void write_all(int file, const void* bytes, std::size_t count, const std::string& name) {
  const char* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t written = ::write(file, from, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_input("cannot write {}: {}", name, std::strerror(errno));
    from += written;
    count -= static_cast<std::size_t>(written);
  }
}

// Creates `path` with these bytes, synced to the disk.
void write_file(const std::filesystem::path& path, const std::string& bytes) {
  const int file = FileSystem::real().create(path);
  try {
    write_all(file, bytes.data(), bytes.size(), path.string());
  } catch (...) {
    ::close(file);
    throw;
  }
  const bool synced = ::fsync(file) == 0;
  const int error = errno;
  ::close(file);
  if (!synced) fail_input("cannot write {}: {}", path.string(), std::strerror(error));
}

void sync_folder(const std::filesystem::path& folder) {
  const int file =
      ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

}  // namespace

struct ShardWriter::File {
  std::filesystem::path temporary;
  int descriptor = -1;
  std::vector<std::uint8_t> buffer;
  XXH3_state_t* hash = XXH3_createState();

  void flush() {
    XXH3_64bits_update(hash, buffer.data(), buffer.size());
    write_all(descriptor, buffer.data(), buffer.size(), temporary.string());
    buffer.clear();
  }
  ~File() {
    XXH3_freeState(hash);
    if (descriptor < 0) return;
    ::close(descriptor);
    ::unlink(temporary.c_str());
  }
};

int shard_token_bytes(std::int64_t vocab_size) {
  return vocab_size <= 65536 ? 2 : 4;
}

ShardWriter::ShardWriter(const std::filesystem::path& path, const ShardInfo& info)
    : info_(info), path_(path), file_(std::make_unique<File>()) {
  if (info.vocab_size <= 0) fail_internal("shard {} needs a vocabulary size", path.string());
  info_.documents = info_.tokens = 0;
  file_->temporary = path.parent_path() / fmt::format(".{}.tmp", path.filename().string());
  file_->descriptor = FileSystem::real().create(file_->temporary);
  file_->buffer.reserve(shard_buffer_bytes + 64);
  XXH3_64bits_reset(file_->hash);
  const char no_header_yet[shard_header_bytes] = {};
  write_all(file_->descriptor, no_header_yet, sizeof no_header_yet, file_->temporary.string());
}

ShardWriter::~ShardWriter() = default;

void ShardWriter::append(std::span<const std::int32_t> tokens) {
  const int width = shard_token_bytes(info_.vocab_size);
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= info_.vocab_size) {
      fail_internal("token {} is outside the vocabulary of {}", token, info_.vocab_size);
    }
    const std::uint8_t bytes[4] = {
        static_cast<std::uint8_t>(token), static_cast<std::uint8_t>(token >> 8),
        static_cast<std::uint8_t>(token >> 16), static_cast<std::uint8_t>(token >> 24)};
    file_->buffer.insert(file_->buffer.end(), bytes, bytes + width);
    if (file_->buffer.size() >= shard_buffer_bytes) file_->flush();
  }
  info_.tokens += static_cast<std::int64_t>(tokens.size());
}

void ShardWriter::append_raw(std::span<const std::uint8_t> bytes) {
  file_->buffer.insert(file_->buffer.end(), bytes.begin(), bytes.end());
  if (file_->buffer.size() >= shard_buffer_bytes) file_->flush();
  info_.tokens += static_cast<std::int64_t>(bytes.size()) / shard_token_bytes(info_.vocab_size);
}

const ShardInfo& ShardWriter::finish() {
  if (info_.tokens > std::numeric_limits<std::int32_t>::max()) {
    fail_internal("shard {} has more tokens than its header can say", path_.string());
  }
  file_->flush();
  const bool wide = shard_token_bytes(info_.vocab_size) == 4;
  std::int32_t header[256] = {wide ? shard_magic_uint32 : shard_magic_uint16,
                              wide ? shard_version_uint32 : shard_version_uint16,
                              static_cast<std::int32_t>(info_.tokens)};
  XXH3_64bits_update(file_->hash, header, sizeof header);
  info_.checksum = fmt::format("{:016x}", XXH3_64bits_digest(file_->hash));
  if (::lseek(file_->descriptor, 0, SEEK_SET) != 0) {
    fail_input("cannot write {}: {}", file_->temporary.string(), std::strerror(errno));
  }
  write_all(file_->descriptor, header, sizeof header, file_->temporary.string());
  if (::fsync(file_->descriptor) != 0) {
    fail_input("cannot write {}: {}", file_->temporary.string(), std::strerror(errno));
  }

  const nlohmann::ordered_json sidecar = {
      {"tokenizer", info_.tokenizer},   {"tokenizer_hash", info_.tokenizer_hash},
      {"vocab_size", info_.vocab_size}, {"bos_id", info_.bos_id},
      {"eos_id", info_.eos_id},         {"documents", info_.documents},
      {"tokens", info_.tokens},         {"xxh3", info_.checksum}};
  const auto sidecar_path = shard_sidecar_path(path_);
  const auto sidecar_temporary =
      path_.parent_path() / fmt::format(".{}.tmp", sidecar_path.filename().string());
  write_file(sidecar_temporary, sidecar.dump(2) + "\n");
  // An older shard of this name loses its sidecar first, so that no two strangers stand together.
  std::filesystem::remove(sidecar_path);
  std::filesystem::rename(file_->temporary, path_);
  ::close(file_->descriptor);
  file_->descriptor = -1;
  std::filesystem::rename(sidecar_temporary, sidecar_path);
  sync_folder(path_.parent_path());
  return info_;
}

}  // namespace memengine
