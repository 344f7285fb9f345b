// PCRE2 with its compiler, and limits on what a match may cost.
#include "io/tokenizers/hugging_face/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "io/text/one_line.h"
#include "io/text/utf8.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::size_t longest_pattern = 4096;

// PCRE2 counts U+180E among \s, Oniguruma's Unicode does not.
std::string with_white_space(std::string_view pattern) {
  constexpr std::string_view members =
      R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  std::string result;
  bool in_class = false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] == '\\' && i + 1 < pattern.size()) {
      const char kind = pattern[++i];
      if (kind == 's' && in_class) {
        result += members;
      } else if (kind == 's' || (kind == 'S' && !in_class)) {
        result.append(kind == 's' ? "[" : "[^").append(members).append("]");
      } else {
        result.append({'\\', kind});
      }
      continue;
    }
    if (pattern[i] == '[') in_class = true;
    if (pattern[i] == ']') in_class = false;
    result += pattern[i];
  }
  return result;
}

pcre2_match_context* limits() {
  static pcre2_match_context* const context = [] {
    pcre2_match_context* made = pcre2_match_context_create(nullptr);
    pcre2_set_match_limit(made, 10'000'000);
    pcre2_set_heap_limit(made, 64 << 10);  // KiB
    return made;
  }();
  return context;
}

struct MatchData {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  ~MatchData() { pcre2_match_data_free(data); }
};

}  // namespace

Pattern::Pattern(const JsonNode& pattern) {
  const bool plain = pattern.has("String");
  source_ = pattern.text(plain ? "String" : "Regex");
  if (plain && source_.empty()) pattern.refuse("an empty text matches nowhere");
  if (plain) return;
  where_ = fmt::format("pattern '{}'", one_line(source_));
  if (source_.size() > longest_pattern) pattern.refuse("a pattern of more than 4,096 bytes");
  const std::string regex = with_white_space(source_);
  int error = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* code = pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(regex.data()), regex.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error, &at, nullptr);
  if (code == nullptr) pattern.refuse(where_ + " is not understood by PCRE2");
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it cannot, matching is slower
  code_ = std::shared_ptr<const void>(code, [code](const void*) { pcre2_code_free(code); });
}

bool Pattern::next(std::string_view text, Walk& walk) const {
  if (code_ == nullptr) {
    walk.begin = text.find(source_, walk.from);
    if (walk.begin == text.npos) return false;
    walk.end = walk.from = walk.begin + source_.size();
    return true;
  }
  thread_local MatchData match;
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  while (walk.from <= text.size()) {
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int status = pcre2_match(code, subject, text.size(), walk.from, PCRE2_NO_UTF_CHECK, match.data,
                             limits());
    if (status == PCRE2_ERROR_JIT_STACKLIMIT) {
      status = pcre2_match(code, subject, text.size(), walk.from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                           match.data, limits());
    }
    if (status == PCRE2_ERROR_NOMATCH) return false;
    if (status < 0) fail_input("{} of the tokenizer costs too much on a text", where_);
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(match.data);
    if (found[0] > found[1]) fail_input("{} of the tokenizer matches backwards", where_);
    if (found[0] == found[1] && found[1] == walk.last_end) {  // an empty match at a match's end
      walk.from += walk.from < text.size() ? decode_utf8(text.substr(walk.from)).length : 1;
      continue;
    }
    walk.begin = found[0], walk.end = found[1];
    walk.from = walk.last_end = walk.end;
    return true;
  }
  return false;
}

}  // namespace memengine
