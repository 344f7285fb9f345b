// Checks first, then maps: after the constructor every token address is known to lie in the file.
#include "io/shards/shard.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/text/json_numbers.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

std::optional<ShardInfo> read_sidecar(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  if (const auto bytes = std::filesystem::file_size(path, ignored); ignored || bytes > 1 << 20) {
    fail_input("{} is not a shard's sidecar: it is no file of at most 1 MiB", path.string());
  }
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
  ShardInfo info;
  const auto refuse = [&path] {
    fail_input(
        "{} is not a shard's sidecar (a key is missing or has a wrong type); delete it or "
        "prepare the data again",
        path.string());
  };
  // An id; -1 where there is none.
  const auto id = [&json](const char* key) {
    const std::int64_t number = json.contains(key) ? whole_number<std::int64_t>(json[key]) : -1;
    if (number != static_cast<std::int32_t>(number)) throw std::invalid_argument(key);
    return static_cast<std::int32_t>(number);
  };
  try {
    info.tokenizer = json.at("tokenizer").get<std::string>();
    info.tokenizer_hash = json.at("tokenizer_hash").get<std::string>();
    info.vocab_size = whole_number<std::int64_t>(json.at("vocab_size"));
    info.documents = whole_number<std::int64_t>(json.at("documents"));
    info.tokens = whole_number<std::int64_t>(json.at("tokens"));
    info.checksum = json.at("xxh3").get<std::string>();
    info.bos_id = id("bos_id");
    info.eos_id = id("eos_id");
  } catch (const nlohmann::json::exception&) {
    refuse();
  } catch (const std::invalid_argument&) {
    refuse();
  }
  return info;
}

template <typename Stored>
std::uint32_t widen(const unsigned char* from, std::span<std::int32_t> out) {
  std::uint32_t largest = 0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    Stored token;
    std::memcpy(&token, from + i * sizeof(Stored), sizeof(Stored));
    out[i] = static_cast<std::int32_t>(token);
    largest = std::max<std::uint32_t>(largest, token);
  }
  return largest;
}

}  // namespace

std::filesystem::path shard_sidecar_path(const std::filesystem::path& shard) {
  return std::filesystem::path(shard).replace_extension(".json");
}

Shard::Shard(const std::filesystem::path& path) : path_(path) {
  const std::string name = path.string();
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail_input("cannot open shard {}: {}", name, std::strerror(errno));
  struct stat status = {};
  const bool known = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const std::size_t bytes = known ? static_cast<std::size_t>(status.st_size) : 0;
  std::int32_t header[3] = {};
  const bool whole_header =
      bytes >= shard_header_bytes && ::pread(file, header, sizeof header, 0) == sizeof header;
  void* mapped = whole_header ? ::mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0) : nullptr;
  const int map_error = errno;
  ::close(file);
  if (!known) fail_input("shard {} is not a regular file", name);
  if (bytes == 0) fail_input("shard {} is empty (0 bytes); prepare it again", name);
  if (!whole_header) {
    fail_input("shard {} is truncated: {} bytes, less than its {}-byte header", name, bytes,
               shard_header_bytes);
  }
  if (mapped == MAP_FAILED) fail_input("cannot map shard {}: {}", name, std::strerror(map_error));
  mapped_ = static_cast<const unsigned char*>(mapped);
  mapped_bytes_ = bytes;
  try {
    const auto [magic, version, count] = std::to_array(header);
    if (magic == shard_magic_uint16) {
      token_bytes_ = 2;
    } else if (magic == shard_magic_uint32) {
      token_bytes_ = 4;
    } else {
      fail_input("{} is not a token shard: its magic number is {}, not {} (uint16) or {} (uint32)",
                 name, magic, shard_magic_uint16, shard_magic_uint32);
    }
    const int expected = token_bytes_ == 2 ? shard_version_uint16 : shard_version_uint32;
    if (version != expected) {
      fail_input("shard {} has version {}; this program reads version {}", name, version, expected);
    }
    tokens_ = count;
    if (tokens_ <= 0) fail_input("shard {} says it has {} tokens", name, tokens_);
    const std::int64_t payload = static_cast<std::int64_t>(bytes - shard_header_bytes);
    if (payload == tokens_ * (6 - token_bytes_)) {
      fail_input("shard {} has tokens of {} bytes, but its magic number {} says {} bytes", name,
                 6 - token_bytes_, magic, token_bytes_);
    }
    if (payload != tokens_ * token_bytes_) {
      fail_input(
          "shard {} is {}: its header says {} tokens of {} bytes, the file holds {} bytes of "
          "them",
          name, payload < tokens_ * token_bytes_ ? "truncated" : "too long", tokens_, token_bytes_,
          payload);
    }
    const auto sidecar = shard_sidecar_path(path);
    info_ = read_sidecar(sidecar);
    if (info_ && info_->tokens != tokens_) {
      fail_input("{} says {} tokens but its shard's header says {}; prepare the data again",
                 sidecar.string(), info_->tokens, tokens_);
    }
    if (info_ && (info_->vocab_size <= 0 || (info_->vocab_size > 65536) != (token_bytes_ == 4))) {
      fail_input("{} says a vocabulary of {} but its shard's tokens are {} bytes wide",
                 sidecar.string(), info_->vocab_size, token_bytes_);
    }
  } catch (...) {
    ::munmap(mapped, bytes);
    throw;
  }
}

Shard::Shard(Shard&& other) noexcept
    : path_(std::move(other.path_)),
      mapped_(std::exchange(other.mapped_, nullptr)),
      mapped_bytes_(other.mapped_bytes_),
      tokens_(other.tokens_),
      token_bytes_(other.token_bytes_),
      info_(std::move(other.info_)) {}

Shard::~Shard() {
  if (mapped_) ::munmap(const_cast<unsigned char*>(mapped_), mapped_bytes_);
}

std::uint32_t Shard::read(std::int64_t first, std::span<std::int32_t> out) const {
  const auto count = static_cast<std::int64_t>(out.size());
  if (first < 0 || first > tokens_ - count) {
    fail_internal("tokens [{}, {}) are outside shard {} of {}", first, first + count,
                  path_.string(), tokens_);
  }
  // The kernel maps what lies around a page that is touched.
  constexpr std::size_t around = 64 << 10, most_held = 2 << 20;
  held_bytes_ += out.size() * static_cast<std::size_t>(token_bytes_) + around;
  if (held_bytes_ > most_held) {
    held_bytes_ = 0;
    release(0, mapped_bytes_);
  }
  const unsigned char* from = mapped_ + shard_header_bytes + first * token_bytes_;
  return token_bytes_ == 2 ? widen<std::uint16_t>(from, out) : widen<std::uint32_t>(from, out);
}

void Shard::release(std::size_t first, std::size_t bytes) const {
  constexpr std::size_t page = 4096;  // or a multiple of it, where madvise refuses: no harm
  first = first / page * page;
  ::madvise(const_cast<unsigned char*>(mapped_) + first, bytes, MADV_DONTNEED);
}

std::string Shard::fingerprint() const {
  if (info_) return info_->checksum;
  constexpr std::size_t piece = 4096, pieces = 64;
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  XXH3_64bits_update(state, mapped_, shard_header_bytes);
  const std::size_t payload = mapped_bytes_ - shard_header_bytes;
  const unsigned char* begin = mapped_ + shard_header_bytes;
  if (payload <= piece * pieces) {
    XXH3_64bits_update(state, begin, payload);
  } else {
    for (std::size_t i = 0; i < pieces; ++i) {  // the last one ends where the file does
      const std::size_t last = payload - piece;
      XXH3_64bits_update(state, begin + (i + 1 < pieces ? last / (pieces - 1) * i : last), piece);
    }
  }
  const std::string digits = fmt::format("{:016x}", XXH3_64bits_digest(state));
  XXH3_freeState(state);
  return digits;
}

bool Shard::verify_checksum() const {
  if (!info_) return false;
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  constexpr std::size_t block = 4 << 20;
  for (std::size_t at = shard_header_bytes; at < mapped_bytes_; at += block) {
    const std::size_t bytes = std::min(block, mapped_bytes_ - at);
    XXH3_64bits_update(state, mapped_ + at, bytes);
    release(at, bytes);
  }
  XXH3_64bits_update(state, mapped_, shard_header_bytes);
  const std::string found = fmt::format("{:016x}", XXH3_64bits_digest(state));
  XXH3_freeState(state);
  if (found != info_->checksum) {
    fail_input("shard {} is damaged: its checksum is {}, its sidecar says {}; prepare it again",
               path_.string(), found, info_->checksum);
  }
  return true;
}

namespace {

// The split's shards in a folder, in no order.
std::vector<std::filesystem::path> list_shards(const std::filesystem::path& folder,
                                               std::string_view split) {
  const auto is_break = [](char c) { return c == '_' || c == '-' || c == '.'; };
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.path().extension() != ".bin" || name.starts_with('.')) continue;
    for (std::size_t at = name.find(split); at != std::string::npos;
         at = name.find(split, at + 1)) {
      const std::size_t end = at + split.size();
      if ((at == 0 || is_break(name[at - 1])) && end < name.size() && is_break(name[end])) {
        found.push_back(entry.path());
        break;
      }
    }
  }
  return found;
}

}  // namespace

std::vector<std::filesystem::path> find_shards(const std::filesystem::path& folder,
                                               std::string_view split) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    if (!std::filesystem::exists(folder, error)) {
      fail_input("no such data folder: {}", folder.string());
    }
    return {folder};
  }
  std::vector<std::filesystem::path> found = list_shards(folder, split);
  if (found.empty()) {
    fail_input("{} holds no {} shards (files like {}_000000.bin); make them with `prepare`",
               folder.string(), split, split);
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool has_split(const std::filesystem::path& folder, std::string_view split) {
  return std::filesystem::is_directory(folder) && !list_shards(folder, split).empty();
}

}  // namespace memengine
