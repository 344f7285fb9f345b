// Writes one token shard and its sidecar.
//
// The shard grows under a temporary name; finish() writes the header, syncs it to the disk and only
// then gives both files their names, so a shard that can be seen is a whole shard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "io/shards/shard.h"

namespace memengine {

// Bytes per token that a vocabulary needs: 2 up to 65,536 ids, else 4.
int shard_token_bytes(std::int64_t vocab_size);

class ShardWriter {
 public:
  // Starts `path` (ending in .bin; its folder must exist). `info` gives the tokenizer's part of the
  // sidecar; documents, tokens and checksum are counted here. The token width follows vocab_size.
  ShardWriter(const std::filesystem::path& path, const ShardInfo& info);
  ~ShardWriter();  // not finished: nothing is left behind
  ShardWriter(const ShardWriter&) = delete;
  ShardWriter& operator=(const ShardWriter&) = delete;

  // Appends tokens; each must lie in the vocabulary.
  void append(std::span<const std::int32_t> tokens);

  // Appends tokens already in the shard's width (checked by whoever made them).
  void append_raw(std::span<const std::uint8_t> bytes);

  // Counts a document that starts in this shard.
  void add_document() { ++info_.documents; }

  std::int64_t tokens() const { return info_.tokens; }

  // Writes header and sidecar, syncs, renames. Returns what the sidecar says.
  const ShardInfo& finish();

 private:
  struct File;
  ShardInfo info_;
  std::filesystem::path path_;
  std::unique_ptr<File> file_;
};

}  // namespace memengine
