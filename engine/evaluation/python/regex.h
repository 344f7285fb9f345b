// A compiled PCRE2 pattern over UTF-8 text, for searching and replacing.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace memengine {

class Regex {
 public:
  // UTF-8 and Unicode character classes are on. A pattern that does not compile is an internal
  // error: patterns are constants of this program.
  explicit Regex(const char* pattern);

  // Every match from the left replaced by `replacement`, in PCRE2's extended syntax ($0 is the
  // match, \L lower case, \u one upper case). `text` must be valid UTF-8. Safe from many threads.
  std::string replace_all(std::string_view text, std::string_view replacement) const;

 private:
  std::shared_ptr<const void> code_;
};

}  // namespace memengine
