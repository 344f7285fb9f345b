// UTF-8: validation, decoding one character, and the repair that Python makes.
//
// Texts come from anywhere, so nothing here trusts its input: every function accepts any bytes.
// "Valid" is the Unicode standard's definition: no overlong forms, no surrogates, at most U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace memengine {

inline constexpr char32_t replacement_character = 0xFFFD;

// One decoded character. When the bytes are not valid, `code` is U+FFFD and `length` is the number
// of bytes that one U+FFFD stands for (the "maximal subpart", as Python's errors="replace").
struct Utf8Character {
  char32_t code = 0;
  std::size_t length = 0;
  bool valid = true;
};

// Decodes the character at the front of `text`, which must not be empty.
Utf8Character decode_utf8(std::string_view text);

// Offset of the first byte that is not valid UTF-8; std::string_view::npos when all are.
std::size_t find_invalid_utf8(std::string_view text);

// A copy in which each invalid maximal subpart is U+FFFD: bytes.decode("utf-8", "replace").
std::string replace_invalid_utf8(std::string_view text);

// Appends `code` as UTF-8; surrogates and values above U+10FFFF become U+FFFD.
void append_utf8(std::string& text, char32_t code);

// How many bytes at the front of `text` can be shown now: everything but an unfinished character at
// the end. For printing a text while it is generated token by token.
std::size_t complete_utf8_prefix(std::string_view text);

}  // namespace memengine
