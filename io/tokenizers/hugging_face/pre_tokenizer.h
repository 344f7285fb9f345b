// The pre-tokenizer of a tokenizer.json: cuts a text into the pieces inside which BPE may merge.
// ByteLevel, Split, Digits, Metaspace, and Sequences of them.
//
// The split patterns of GPT-2, Llama 3 and Qwen are recognised and run as code (tiktoken_split.h);
// any other goes through PCRE2.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "io/tokenizers/hugging_face/json_node.h"
#include "io/tokenizers/hugging_face/pattern.h"
#include "io/tokenizers/tiktoken/tiktoken_split.h"

namespace memengine {

class PreTokenizer {
 public:
  using Sink = std::function<void(std::string_view piece)>;

  PreTokenizer() = default;  // the whole text is one piece
  // Input error: another type, named, or a step after ByteLevel, which turns a text into bytes.
  explicit PreTokenizer(const JsonNode& pre_tokenizer) { add(pre_tokenizer, 0); }

  // Hands out the pieces in their order; a piece lives only during the call. `first`: the text is
  // the beginning of what is encoded, not a part after a special token.
  void cut(std::string_view text, bool first, const Sink& sink) const { run(0, text, first, sink); }

  bool byte_level() const { return byte_level_; }

 private:
  enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  struct Step {
    enum Kind { known_pattern, pattern, digits, space_in_front, metaspace } kind = known_pattern;
    SplitPattern known = SplitPattern::gpt2;
    std::vector<Pattern> pattern_of = {};  // of pattern: one
    Behavior behavior = Behavior::isolated;
    bool invert = false;
    enum Prepend { always, first, never } prepend = never;  // of metaspace
    bool splits = true;                                     // of metaspace
    std::string mark = {};                                  // of metaspace
  };
  struct Part {
    std::size_t begin, end;
    bool is_match;
  };

  void add(const JsonNode& node, int depth);
  Step split_step(const JsonNode& node) const;
  Step metaspace_step(const JsonNode& node) const;
  void run(std::size_t step, std::string_view text, bool first, const Sink& sink) const;
  void run_metaspace(std::size_t step, std::string_view text, bool first, const Sink& sink) const;
  static std::vector<Part> parts_of(const Step& step, std::string_view text);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace memengine
