// Where a pattern matches, as Oniguruma finds it for huggingface/tokenizers: a plain text, or a
// regular expression (PCRE2; one that takes too long on a text is an input error, never a hang).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "io/tokenizers/hugging_face/json_node.h"

namespace memengine {

class Pattern {
 public:
  // Reads {"String": ...} or {"Regex": ...}.
  explicit Pattern(const JsonNode& pattern);

  // A walk over the matches in one text of valid UTF-8.
  struct Walk {
    std::size_t begin = 0, end = 0;                           // of the match found last
    std::size_t from = 0, last_end = std::string_view::npos;  // where the next search begins
  };
  bool next(std::string_view text, Walk& walk) const;

  bool is_regex() const { return code_ != nullptr; }
  const std::string& source() const { return source_; }

 private:
  std::string where_, source_;
  std::shared_ptr<const void> code_;  // none: a plain text
};

}  // namespace memengine
