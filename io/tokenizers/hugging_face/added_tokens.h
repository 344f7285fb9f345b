// The added tokens of a tokenizer.json: names that are found in a text before anything else cuts
// it.
//
// At each place the longest name wins, and the leftmost place first. A token of normalized=false is
// looked for in the text as it is, one of normalized=true, itself normalized, in the normalized
// text. lstrip and rstrip take the white space beside the name along. Source:
// huggingface/tokenizers, tokenizer/added_vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizers/hugging_face/json_node.h"
#include "io/tokenizers/hugging_face/normalizer.h"
#include "io/tokenizers/tiktoken/tiktoken_bpe.h"

namespace memengine {

struct AddedToken {
  std::string text;
  std::int32_t id = 0;
  bool special = false, normalized = true, lstrip = false, rstrip = false;
};

// Reads "added_tokens". Input errors: single_word, two tokens of one name or number.
std::vector<AddedToken> read_added_tokens(const JsonNode& added_tokens);

// Finds some of them in texts. Safe from many threads.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token, const std::string& name);
  bool empty() const { return tokens_.empty(); }

  struct Part {
    std::string_view text;
    std::int32_t id = -1;  // of the token that it is; -1: text between tokens
  };
  // Cuts `text`. Without `special`, special tokens are text like any other.
  void cut(std::string_view text, bool special, std::vector<Part>& parts) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;

  BpeVocabulary names_;
  std::vector<AddedToken> tokens_;         // by place in names_
  std::vector<std::size_t> lengths_[256];  // of the names that begin with this byte, falling
};

}  // namespace memengine
