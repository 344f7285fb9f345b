// The alternatives in their order, each as a scan from the place where the piece begins. Where the
// pattern would give back characters (white space), the scan notes on its way what it would give.
#include "io/tokenizers/tiktoken/tiktoken_split.h"

#include <array>
#include <cstdint>

#include "io/text/unicode_classes.h"

namespace memengine {
namespace {

using Class = CharacterClass;

struct Character {
  Class kind = Class::other;
  std::size_t length = 0;
};

// The character at `at` of valid UTF-8, which must not be the end.
Character character_at(std::string_view text, std::size_t at) {
  static const std::array<Class, 128> ascii = [] {
    std::array<Class, 128> table;
    for (char32_t c = 0; c < 128; ++c) table[c] = character_class(c);
    return table;
  }();
  const auto byte = [&](std::size_t i) {
    return static_cast<char32_t>(static_cast<unsigned char>(text[at + i]));
  };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {ascii[lead], 1};
  if (lead < 0xE0) return {character_class((lead & 0x1F) << 6 | (byte(1) & 0x3F)), 2};
  if (lead < 0xF0) {
    return {character_class((lead & 0xF) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F)), 3};
  }
  return {character_class((lead & 0x7) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
                          (byte(3) & 0x3F)),
          4};
}

// Where the run of one class that holds `at` ends, after at most `most` characters.
std::size_t run_end(std::string_view text, std::size_t at, Class kind,
                    std::size_t most = std::string_view::npos) {
  for (; most > 0 && at < text.size(); --most) {
    const Character character = character_at(text, at);
    if (character.kind != kind) break;
    at += character.length;
  }
  return at;
}

bool is_line_end(char c) {
  return c == '\r' || c == '\n';
}

// Bytes of an English contraction after the apostrophe; 0 when there is none. Of all characters
// only the long s (U+017F) has the same lower case as one of these letters.
std::size_t contraction(std::string_view rest) {
  // Only letters have these lower cases, so any other character may be lowered too.
  const auto lower = [&](std::size_t i) {
    return i < rest.size() ? static_cast<char>(rest[i] | 0x20) : '\0';
  };
  const char first = lower(0);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 1;
  if (rest.starts_with("\xC5\xBF")) return 2;
  const char second = lower(1);
  if ((first == 'r' || first == 'v') && second == 'e') return 2;
  return first == 'l' && second == 'l' ? 2 : 0;
}

// White space from `at`: up to the last line end in it; else all of it when nothing follows; else
// all but its last character, unless that is the only one.
std::size_t white_space_end(std::string_view text, std::size_t at) {
  std::size_t line_end = at, last = at, end = at;
  while (end < text.size()) {
    const Character character = character_at(text, end);
    if (character.kind != Class::white_space) break;
    last = end;
    end += character.length;
    if (is_line_end(text[last])) line_end = end;
  }
  if (line_end > at) return line_end;
  return end == text.size() || last == at ? end : last;
}

std::size_t gpt2_piece_end(std::string_view text, std::size_t at) {
  if (text[at] == '\'') {
    for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
      if (text.substr(at + 1).starts_with(ending)) return at + 1 + ending.size();
    }
  }
  const std::size_t begin = text[at] == ' ' ? at + 1 : at;
  if (begin < text.size()) {
    const Character first = character_at(text, begin);
    if (first.kind != Class::white_space) return run_end(text, begin + first.length, first.kind);
  }
  // All white space when nothing follows, else all but its last character, unless that is the only.
  std::size_t last = at, end = at;
  while (end < text.size()) {
    const Character character = character_at(text, end);
    if (character.kind != Class::white_space) break;
    last = end;
    end += character.length;
  }
  return end == text.size() || last == at ? end : last;
}

std::size_t piece_end(std::string_view text, std::size_t at, std::size_t most_digits) {
  if (text[at] == '\'') {
    if (const std::size_t bytes = contraction(text.substr(at + 1)); bytes > 0) {
      return at + 1 + bytes;
    }
  }
  const Character first = character_at(text, at);
  const std::size_t second = at + first.length;
  if (first.kind == Class::letter) return run_end(text, second, Class::letter);
  if (first.kind == Class::number) return run_end(text, second, Class::number, most_digits - 1);
  if (!is_line_end(text[at])) {
    const std::size_t word = run_end(text, second, Class::letter);
    if (word > second) return word;
  }
  const bool space = text[at] == ' ';
  if (first.kind == Class::other || space) {
    std::size_t end = run_end(text, space ? second : at, Class::other);
    if (end > second || first.kind == Class::other) {
      while (end < text.size() && is_line_end(text[end])) ++end;
      return end;
    }
  }
  return white_space_end(text, at);
}

}  // namespace

std::string_view TiktokenPieces::next() {
  if (at_ == text_.size()) return {};
  const std::size_t end = pattern_ == SplitPattern::gpt2
                              ? gpt2_piece_end(text_, at_)
                              : piece_end(text_, at_, pattern_ == SplitPattern::qwen2 ? 1 : 3);
  const std::string_view piece = text_.substr(at_, end - at_);
  at_ = end;
  return piece;
}

}  // namespace memengine
