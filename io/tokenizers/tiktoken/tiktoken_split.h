// Llama 3's split pattern, and two of its kin: cut a text into the pieces inside which BPE may
// merge.
//
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)      an English contraction
//   |[^\r\n\p{L}\p{N}]?\p{L}+         a word, with at most one mark or space before it
//   |\p{N}{1,3}                       up to three digits
//   | ?[^\s\p{L}\p{N}]+[\r\n]*        punctuation, with the line ends after it
//   |\s*[\r\n]+ |\s+(?!\S) |\s+       white space, leaving one space to the word after it
//
// Qwen's takes one digit at a time (\p{N}). GPT-2's is
//
//   's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ |\s+(?!\S) |\s+
//
// The patterns are fixed, so they are written out as code: no alternative needs to look back, every
// piece takes time in its length, and the classes of characters are those of Unicode 16.0 (as in
// tiktoken 0.14), whatever the libraries of the machine know.
#pragma once

#include <cstddef>
#include <string_view>

namespace memengine {

enum class SplitPattern { llama3, qwen2, gpt2 };

// A walk over one text, which must be valid UTF-8 and outlive it. Every byte of the text is in
// exactly one piece, in order.
class TiktokenPieces {
 public:
  explicit TiktokenPieces(std::string_view text, SplitPattern pattern = SplitPattern::llama3)
      : text_(text), pattern_(pattern) {}

  // The next piece; empty at the end of the text.
  std::string_view next();

 private:
  std::string_view text_;
  SplitPattern pattern_;
  std::size_t at_ = 0;
};

}  // namespace memengine
