// Texts in which the names of special tokens are read as these tokens, as Hugging Face's tokenizers
// (and so lm-evaluation-harness) read them: "a</s>b" holds the token </s>. Training does not: to
// `prepare` every text is plain letters.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "io/tokenizers/tokenizer.h"

namespace memengine {

// Which parts of a text, cut at its special tokens, get the space that a SentencePiece model puts
// in front of a text.
enum class SpaceInFront {
  every_part,            // each one: what tokenizer.json's normalizer "Prepend" does
  unless_a_space,        // each that does not begin with a space: LlamaTokenizer with legacy=true
  first_unless_a_space,  // the first, unless it begins with a space: LlamaTokenizer without legacy
};

class SpecialTokenEncoder {
 public:
  // The tokenizer outlives it. `bos`: put BOS in front, unless the text begins with BOS's name.
  SpecialTokenEncoder(const Tokenizer& tokenizer, SpaceInFront space, bool bos);

  // Safe from many threads.
  std::vector<std::int32_t> encode(std::string_view text) const;

 private:
  const SpecialToken* at_front(std::string_view text) const;
  void encode_part(std::string_view part, bool first, std::vector<std::int32_t>& ids) const;

  const Tokenizer& tokenizer_;
  SpaceInFront space_;
  bool bos_;
  std::vector<SpecialToken> special_;  // the longest first
  std::string bos_name_;
  bool begins_[256] = {};  // a special token's name begins with this byte
};

}  // namespace memengine
