// The pattern is compiled once and matched by PCRE2's just-in-time code, anchored at the end of the
// piece before; its alternatives cover every character, so a match always exists.
#include "io/tiktoken_split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "engine/runtime/error.h"

namespace memengine {
namespace {

// Unicode's White_Space, to stand inside a character class.
#define WHITE_SPACE                                                                               \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{" \
  "205f}\\x{3000}"

constexpr char split_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
    "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
    "|\\p{N}{1,3}"
    "| ?[^" WHITE_SPACE
    "\\p{L}\\p{N}]+[\\r\\n]*"
    "|[" WHITE_SPACE
    "]*[\\r\\n]+"
    "|[" WHITE_SPACE "]+(?![^" WHITE_SPACE
    "])"
    "|[" WHITE_SPACE "]+";
#undef WHITE_SPACE

}  // namespace

struct TiktokenSplitter::Pattern {
  pcre2_code* code = nullptr;
  ~Pattern() { pcre2_code_free(code); }
};

struct TiktokenSplitter::Walk::State {
  pcre2_match_data* match = nullptr;
  pcre2_match_context* context = nullptr;
  pcre2_jit_stack* stack = nullptr;
  ~State() {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

TiktokenSplitter::TiktokenSplitter() : pattern_(std::make_unique<Pattern>()) {
  int error = 0;
  PCRE2_SIZE where = 0;
  pattern_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(split_pattern), PCRE2_ZERO_TERMINATED,
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &where, nullptr);
  if (!pattern_->code) {
    fail_internal("PCRE2 cannot compile the split pattern: error {} at {}", error, where);
  }
  // Without JIT on this machine pcre2_match interprets the pattern: the same result, slower.
  pcre2_jit_compile(pattern_->code, PCRE2_JIT_COMPLETE);
}

TiktokenSplitter::~TiktokenSplitter() = default;

TiktokenSplitter::Walk::Walk(const TiktokenSplitter& splitter, std::string_view text)
    : splitter_(splitter), text_(text), state_(std::make_unique<State>()) {
  state_->match = pcre2_match_data_create(1, nullptr);
  state_->context = pcre2_match_context_create(nullptr);
  state_->stack = pcre2_jit_stack_create(32 << 10, 64 << 20, nullptr);
  if (!state_->match || !state_->context) fail_internal("PCRE2 is out of memory");
  pcre2_set_match_limit(state_->context, ~0u);
  pcre2_set_depth_limit(state_->context, ~0u);
  if (state_->stack) pcre2_jit_stack_assign(state_->context, nullptr, state_->stack);
}

TiktokenSplitter::Walk::~Walk() = default;

std::string_view TiktokenSplitter::Walk::next() {
  if (position_ == text_.size()) return {};
  const int found =
      pcre2_match(splitter_.pattern_->code, reinterpret_cast<PCRE2_SPTR>(text_.data()),
                  text_.size(), position_, PCRE2_NO_UTF_CHECK, state_->match, state_->context);
  const PCRE2_SIZE* span = pcre2_get_ovector_pointer(state_->match);
  if (found < 1 || span[1] <= position_) {
    fail_internal("the split pattern found no piece at byte {} (PCRE2 error {})", position_, found);
  }
  const std::string_view piece = text_.substr(position_, span[1] - position_);
  position_ = span[1];
  return piece;
}

}  // namespace memengine
