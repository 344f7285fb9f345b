// What is in a set of shards, for a person to look at: counts, document lengths, a sample.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/tokenizers/tokenizer.h"

namespace memengine {

struct ShardSummary {
  struct Bin {
    std::int64_t from = 0, to = 0;  // documents of [from, to) tokens: 1, 2, 4, 8, ...
    std::int64_t documents = 0;
  };
  std::int64_t shards = 0, tokens = 0;
  std::int64_t documents = 0;  // counted by their first token, or by the sidecars where unknown
  int token_bytes = 0;         // 2 or 4; 0 when the shards differ
  std::int64_t largest_token = 0;
  std::string tokenizer, tokenizer_hash;  // of the sidecars; empty without
  std::int64_t vocab_size = 0;            // of the sidecars; 0 without
  std::vector<Bin> tokens_per_document;   // empty when the document start is unknown
  std::int64_t shortest_document = 0, longest_document = 0;
  bool verified = false;             // every shard agreed with its checksum
  std::vector<std::int32_t> sample;  // the first tokens of the first shard
  std::string sample_text;           // decoded, when a tokenizer is given
};

struct ShardSummaryOptions {
  std::int32_t document_start = -1;  // -1: the BOS that the sidecar names
  std::int64_t sample_tokens = 64;
  bool verify = false;                   // also compare checksums
  const Tokenizer* tokenizer = nullptr;  // to decode the sample
};

// Reads all tokens of `shards` once. Damaged shards, and a tokenizer other than the sidecar's, are
// input errors.
ShardSummary summarize_shards(const std::vector<std::filesystem::path>& shards,
                              const ShardSummaryOptions& options);

}  // namespace memengine
