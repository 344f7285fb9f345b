// Llama 3's split pattern: cuts a text into the pieces inside which BPE may merge.
//
//   (?i:'s|'t|'re|'ve|'m|'ll|'d)      an English contraction
//   |[^\r\n\p{L}\p{N}]?\p{L}+         a word, with at most one mark or space before it
//   |\p{N}{1,3}                       up to three digits
//   | ?[^\s\p{L}\p{N}]+[\r\n]*        punctuation, with the line ends behind it
//   |\s*[\r\n]+ |\s+(?!\S) |\s+       white space, leaving one space to the word behind it
//
// PCRE2's compiler does the work. One thing differs between the engines: PCRE2 counts U+180E as
// white space and Unicode's White_Space (what tiktoken means by \s) does not, so the class is
// written out.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace memengine {

// The compiled pattern; immutable, so many threads may share one.
class TiktokenSplitter {
 public:
  TiktokenSplitter();
  ~TiktokenSplitter();
  TiktokenSplitter(const TiktokenSplitter&) = delete;
  TiktokenSplitter& operator=(const TiktokenSplitter&) = delete;

  // A walk over one text; `text` must be valid UTF-8 and outlive the walk. Every byte of the text
  // is in exactly one piece, in order.
  class Walk {
   public:
    Walk(const TiktokenSplitter& splitter, std::string_view text);
    ~Walk();
    Walk(const Walk&) = delete;
    Walk& operator=(const Walk&) = delete;

    // The next piece; empty at the end of the text.
    std::string_view next();

   private:
    struct State;
    const TiktokenSplitter& splitter_;
    std::string_view text_;
    std::size_t position_ = 0;
    std::unique_ptr<State> state_;
  };

 private:
  struct Pattern;
  std::unique_ptr<Pattern> pattern_;
};

}  // namespace memengine
