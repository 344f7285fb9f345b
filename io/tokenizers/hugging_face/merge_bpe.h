// The model of a tokenizer.json: BPE by a list of merges of two tokens.
//
// A piece starts as its bytes (byte-level) or its characters; a character that is no token becomes
// its <0xHH> tokens (byte fallback), or the unknown token, or nothing. Then the merges, the first
// in the list first. Source: huggingface/tokenizers, models/bpe.
//
// Clever: most words are one token. Loading notes of each token whether merging its own bytes gives
// it; then the whole word is one look-up. And where no token has white space (U+2581) after another
// character, no merge crosses the start of a run of it, so a text without a pre-tokenizer is still
// merged word by word.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizers/bpe_merge.h"
#include "io/tokenizers/hugging_face/json_node.h"
#include "io/tokenizers/tiktoken/tiktoken_bpe.h"

namespace memengine {

class MergeBpe {
 public:
  // Reads "model". Input errors: another type, merges of what are no tokens, two tokens of one
  // number.
  MergeBpe(const JsonNode& model, bool byte_level);

  // Appends the ids of one piece of valid UTF-8. Safe from many threads.
  void encode_piece(std::string_view piece, std::vector<std::int32_t>& ids) const;

  // By id, as the file writes them; empty where there is no such token.
  const std::vector<std::string>& texts() const { return texts_; }
  std::int32_t find_text(std::string_view text) const;  // -1: no token

 private:
  struct Pair {
    std::uint64_t key = empty;  // left id, right id
    BpeJoin join;
  };
  static constexpr std::uint64_t empty = ~std::uint64_t{0};

  void read_vocabulary(const JsonNode& vocab);
  void read_merges(const JsonNode& merges);
  void note_byte_tokens(const JsonNode& model);
  void find_whole_words();
  BpeJoin joined(std::int32_t left, std::int32_t right) const;
  std::size_t slot_of(std::uint64_t key) const;
  std::int32_t token_of(std::string_view bytes) const;
  void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const;
  void start_parts(std::string_view word, BpeParts& parts) const;

  bool byte_level_ = false, byte_fallback_ = false, fuse_unknown_ = false, ignore_merges_ = false;
  bool cuts_at_marks_ = false;
  std::int32_t unknown_ = -1;
  std::vector<std::string> texts_;             // by id
  BpeVocabulary names_;                        // as written, in the file's order
  BpeVocabulary tokens_;                       // what they stand for: bytes, where byte-level
  std::vector<std::int32_t> name_ids_;         // by place in names_
  std::vector<std::int32_t> token_ids_;        // by place in tokens_
  std::vector<std::uint8_t> is_whole_;         // by place in tokens_: merging its bytes gives it
  std::array<std::int32_t, 256> byte_ids_{};   // a byte's own token, -1 without
  std::array<std::int32_t, 256> fallbacks_{};  // <0xHH>, -1 without
  std::vector<Pair> pairs_;                    // a power of two, at most half full
};

}  // namespace memengine
