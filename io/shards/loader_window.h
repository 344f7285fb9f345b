// What training and validation share: opening checked shards, cutting one sequence out of a shard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/shards/loader.h"
#include "io/shards/shard.h"

namespace memengine {

// The open shards of one source. Opening maps them and checks headers; the tokens of a shard with a
// sidecar are compared with its checksum when the shard is first used. So a start waits for no more
// than the shards it reads from, and no damaged byte is trained on. For one thread.
class OpenShards {
 public:
  OpenShards() = default;
  // A sidecar whose tokenizer hash or vocabulary does not match is an input error (an empty hash
  // and a vocabulary of 0 match all).
  OpenShards(const std::vector<std::filesystem::path>& paths, const std::string& tokenizer_hash,
             std::int64_t vocab_size);

  const std::vector<Shard>& all() const { return shards_; }

  // Shard `i`, to read tokens from; an input error when it is damaged.
  const Shard& verified(std::size_t i);

 private:
  std::vector<Shard> shards_;
  std::vector<bool> verified_;
};

// Sequences of T + 1 tokens, starting every T tokens, that a shard holds.
std::int64_t windows_in(const Shard& shard, std::int64_t seq_len);

// Arrays [B, T] that one batch fills, in memory from the allocator.
class BatchBuffer {
 public:
  BatchBuffer(std::int64_t batch_size, std::int64_t seq_len, const HostAllocator& allocator);
  ~BatchBuffer();
  BatchBuffer(BatchBuffer&& other) noexcept;
  BatchBuffer& operator=(BatchBuffer&&) = delete;

  // Overwrites row `row` with the shard's window `window`: tokens, targets, document starts. An id
  // at or above vocab_size (0: any 31-bit id) is an input error that names shard and place.
  void fill(std::int64_t row, const Shard& shard, std::int64_t window, std::int64_t vocab_size,
            std::int32_t document_start);

  Batch batch(std::int64_t rows) const;

 private:
  std::int64_t batch_size_, seq_len_;
  HostAllocator allocator_;
  std::int32_t* memory_ = nullptr;      // tokens, targets, doc_start, one after the other
  std::vector<std::int32_t> sequence_;  // T + 1
};

}  // namespace memengine
