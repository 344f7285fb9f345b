// Checks first: after the constructor every token is known to lie in the file, as it was then.
#include "io/shards/shard.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <vector>

#include "io/json/json_numbers.h"
#include "kernels/runtime/error.h"

namespace memengine {

std::optional<ShardInfo> read_shard_sidecar(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  std::string text;
  try {
    text = read_text_file(path, 1 << 20);
  } catch (const Error& error) {
    fail_input("{}; it is not a shard's sidecar", error.what());
  }
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
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

namespace {

InputFile open_shard(const std::filesystem::path& path) {
  try {
    return InputFile(path);
  } catch (const Error& error) {
    fail_input("cannot open shard {}", error.what());
  }
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

// XXH3-64 of ranges of a file.
class FileHash {
 public:
  explicit FileHash(const InputFile& file) : file_(file) { XXH3_64bits_reset(state_); }
  ~FileHash() { XXH3_freeState(state_); }
  FileHash(const FileHash&) = delete;
  FileHash& operator=(const FileHash&) = delete;

  void add(std::uint64_t offset, std::uint64_t bytes) {
    while (bytes > 0) {
      const auto part = static_cast<std::size_t>(std::min<std::uint64_t>(bytes, buffer_.size()));
      file_.read(offset, std::span(buffer_).first(part));
      XXH3_64bits_update(state_, buffer_.data(), part);
      offset += part;
      bytes -= part;
    }
  }
  std::string digits() const { return fmt::format("{:016x}", XXH3_64bits_digest(state_)); }

 private:
  const InputFile& file_;
  XXH3_state_t* state_ = XXH3_createState();
  std::vector<std::byte> buffer_ = std::vector<std::byte>(1 << 20);
};

}  // namespace

std::filesystem::path shard_sidecar_path(const std::filesystem::path& shard) {
  return std::filesystem::path(shard).replace_extension(".json");
}

Shard::Shard(const std::filesystem::path& path) : file_(open_shard(path)) {
  const std::string name = path.string();
  const std::uint64_t bytes = file_.size();
  if (bytes == 0) fail_input("shard {} is empty (0 bytes); prepare it again", name);
  if (bytes < shard_header_bytes) {
    fail_input("shard {} is truncated: {} bytes, less than its {}-byte header", name, bytes,
               shard_header_bytes);
  }
  std::int32_t header[3] = {};
  file_.read(0, std::as_writable_bytes(std::span(header)));
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
  info_ = read_shard_sidecar(sidecar);
  if (info_ && info_->tokens != tokens_) {
    fail_input("{} says {} tokens but its shard's header says {}; prepare the data again",
               sidecar.string(), info_->tokens, tokens_);
  }
  if (info_ && (info_->vocab_size <= 0 || (info_->vocab_size > 65536) != (token_bytes_ == 4))) {
    fail_input("{} says a vocabulary of {} but its shard's tokens are {} bytes wide",
               sidecar.string(), info_->vocab_size, token_bytes_);
  }
}

std::uint32_t Shard::read(std::int64_t first, std::span<std::int32_t> out) const {
  const auto count = static_cast<std::int64_t>(out.size());
  if (first < 0 || first > tokens_ - count) {
    fail_internal("tokens [{}, {}) are outside shard {} of {}", first, first + count,
                  path().string(), tokens_);
  }
  const auto offset = static_cast<std::uint64_t>(first * token_bytes_) + shard_header_bytes;
  // Narrow tokens are read into the end of where they are widened to, and widened from the front.
  const std::size_t bytes = out.size() * static_cast<std::size_t>(token_bytes_);
  const auto stored = std::as_writable_bytes(out).last(bytes);
  file_.read(offset, stored);
  const auto* from = reinterpret_cast<const unsigned char*>(stored.data());
  return token_bytes_ == 2 ? widen<std::uint16_t>(from, out) : widen<std::uint32_t>(from, out);
}

std::string Shard::fingerprint() const {
  if (info_) return info_->checksum;
  constexpr std::size_t piece = 4096, pieces = 64;
  const std::uint64_t payload = file_.size() - shard_header_bytes;
  FileHash hash(file_);
  hash.add(0, shard_header_bytes);
  if (payload <= piece * pieces) {
    hash.add(shard_header_bytes, payload);
  } else {
    for (std::size_t i = 0; i < pieces; ++i) {  // the last one ends where the file does
      const std::uint64_t last = payload - piece;
      hash.add(shard_header_bytes + (i + 1 < pieces ? last / (pieces - 1) * i : last), piece);
    }
  }
  return hash.digits();
}

bool Shard::verify_checksum() const {
  if (!info_) return false;
  FileHash hash(file_);
  hash.add(shard_header_bytes, file_.size() - shard_header_bytes);
  hash.add(0, shard_header_bytes);
  const std::string found = hash.digits();
  if (found != info_->checksum) {
    fail_input("shard {} is damaged: its checksum is {}, its sidecar says {}; prepare it again",
               path().string(), found, info_->checksum);
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
