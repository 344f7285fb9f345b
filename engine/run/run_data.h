// What a run reads: its tokenizer and its token shards, found from the config.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "engine/config/config.h"
#include "io/shards/loader.h"
#include "io/tokenizers/tokenizer.h"

namespace memengine {

std::unique_ptr<Tokenizer> open_tokenizer(const TokenizerConfig& config);

const char* tokenizer_name(TokenizerKind kind);

struct RunData {
  std::unique_ptr<Tokenizer> tokenizer;
  std::vector<LoaderSource> sources;

  // Loads the tokenizer, finds the sources and fills in config.model.vocab_size where it is -1.
  // Input errors: no data, a vocabulary smaller than the tokenizer's.
  static RunData open(RunConfig& config);

  // The token that starts a document: with model.document_mask what the shards themselves say, else
  // the tokenizer's BOS or -1. A shard without a sidecar that "bytes" only stands in for (its
  // vocabulary is larger) is llm.c's: GPT-2's <|endoftext|> or Llama 3's <|begin_of_text|>. Input
  // error with document_mask where documents have no such token or it cannot be known.
  std::int32_t document_start(const RunConfig& config) const;

  // Training batches; `from` continues a stored position.
  std::unique_ptr<TokenLoader> training_loader(const RunConfig& config,
                                               const HostAllocator& allocator,
                                               const LoaderPosition* from) const;
  // Held-out batches of the same shape; null when the sources have none.
  std::unique_ptr<ValidationReader> validation_reader(const RunConfig& config) const;
};

}  // namespace memengine
