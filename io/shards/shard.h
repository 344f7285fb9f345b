// Token shards in llm.c's format. They are read, not mapped: a file that is cut while a run reads
// it is then an error like any other, not a signal that ends the process.
//
//   256 int32   [0] magic, [1] version, [2] number of tokens, the rest zero
//   tokens      magic 20240520, version 1: uint16     magic 20240801, version 7: uint32
//
// Beside `train_000000.bin` may lie `train_000000.json`, the sidecar: which tokenizer made the ids,
// how large its vocabulary is, how many documents, and an XXH3-64 checksum. Shards without one (the
// public pre-tokenized sets) are read as they are.
//
// Pages that were read are given back to the system's cache soon after, so that a run over a
// hundred gigabytes of shards holds a few megabytes of them.
//
// A shard is untrusted input: every size is checked against the file before it is used, and each
// problem is one line that names the file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files/file.h"

namespace memengine {

inline constexpr std::size_t shard_header_bytes = 256 * sizeof(std::int32_t);
inline constexpr std::int32_t shard_magic_uint16 = 20240520;
inline constexpr std::int32_t shard_version_uint16 = 1;
inline constexpr std::int32_t shard_magic_uint32 = 20240801;
inline constexpr std::int32_t shard_version_uint32 = 7;

// What the sidecar says.
struct ShardInfo {
  std::string tokenizer;       // "sp", "tiktoken", "bytes"
  std::string tokenizer_hash;  // Tokenizer::hash()
  std::int64_t vocab_size = 0;
  std::int64_t documents = 0;  // documents that start in this shard
  std::int64_t tokens = 0;
  std::string checksum;      // XXH3-64 of the tokens' bytes followed by the header, 16 hex digits
  std::int32_t bos_id = -1;  // -1: documents have no BOS
  std::int32_t eos_id = -1;  // -1: documents have no EOS
};

// The sidecar's path: the shard's with .json in place of its extension.
std::filesystem::path shard_sidecar_path(const std::filesystem::path& shard);

// What a sidecar says; none where the file is not there, an input error where it is none.
std::optional<ShardInfo> read_shard_sidecar(const std::filesystem::path& path);

class Shard {
 public:
  // Opens `path`. Truncated, too long, empty, another magic or version, a sidecar that is not JSON
  // or disagrees about the token count or the width: input errors.
  explicit Shard(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  std::int64_t tokens() const { return tokens_; }
  int token_bytes() const { return token_bytes_; }  // 2 or 4
  const std::optional<ShardInfo>& info() const { return info_; }

  // Widens tokens [first, first + out.size()) into `out`; the range must lie in the shard. Ids of
  // a uint32 shard above 2^31 - 1 come out negative: a check against the vocabulary finds them.
  // Returns the largest id, compared as unsigned.
  std::uint32_t read(std::int64_t first, std::span<std::int32_t> out) const;

  // Tells these tokens from others without reading them all: the sidecar's checksum, or without a
  // sidecar a hash of the header and of pieces from all over the file. 16 hexadecimal digits.
  std::string fingerprint() const;

  // Reads everything; an input error when the bytes are not those that were written. False when
  // there is no sidecar, so nothing to compare with.
  bool verify_checksum() const;

 private:
  InputFile file_;
  std::int64_t tokens_ = 0;
  int token_bytes_ = 0;
  std::optional<ShardInfo> info_;
};

// The shards of one split ("train" or "val") below `folder`, sorted by name: files *.bin whose name
// contains the split as a word between '_', '-', '.' and the ends (train_000000.bin,
// fineweb_train_000001.bin). `folder` may also be one .bin file. None found is an input error.
std::vector<std::filesystem::path> find_shards(const std::filesystem::path& folder,
                                               std::string_view split);

// Whether find_shards would find any in this folder; false for a single file.
bool has_split(const std::filesystem::path& folder, std::string_view split);

}  // namespace memengine
