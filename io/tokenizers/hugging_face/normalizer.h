// The normalizer of a tokenizer.json: Prepend, Replace, NFC, and Sequences of them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizers/hugging_face/json_node.h"
#include "io/tokenizers/hugging_face/pattern.h"

namespace memengine {

class Normalizer {
 public:
  Normalizer() = default;  // leaves texts as they are
  // Input error: another type of normalizer, named.
  explicit Normalizer(const JsonNode& normalizer) { add(normalizer, 0); }

  bool empty() const { return steps_.empty(); }

  // `text` is valid UTF-8. Safe from many threads.
  std::string normalize(std::string_view text) const;

 private:
  struct Step {
    enum Kind { prepend, replace, nfc } kind = prepend;
    std::string content;
    std::vector<Pattern> pattern;  // of replace: one
  };
  void add(const JsonNode& node, int depth);

  std::vector<Step> steps_;
};

}  // namespace memengine
