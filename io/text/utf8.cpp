// UTF-8 decoding by the table of well-formed byte sequences (Unicode 15, table 3-7): the lead byte
// fixes the length and the range of the second byte; all later bytes lie in 80..BF.
#include "io/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace memengine {
namespace {

unsigned byte_at(std::string_view text, std::size_t i) {
  return static_cast<unsigned char>(text[i]);
}

// First offset at or after `i` whose byte is not ASCII, eight bytes a look.
std::size_t skip_ascii(std::string_view text, std::size_t i) {
  while (i + 8 <= text.size()) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if (word & 0x8080808080808080ull) break;
    i += 8;
  }
  while (i < text.size() && byte_at(text, i) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Character decode_utf8(std::string_view text) {
  const unsigned lead = byte_at(text, 0);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t length = 0;
  unsigned low = 0x80, high = 0xBF;
  char32_t code = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2, code = lead & 0x1F;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3, code = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4, code = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {replacement_character, 1, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= text.size() || byte_at(text, i) < low || byte_at(text, i) > high) {
      return {replacement_character, i, false};
    }
    code = code << 6 | (byte_at(text, i) & 0x3F);
    low = 0x80, high = 0xBF;
  }
  return {code, length, true};
}

std::size_t find_invalid_utf8(std::string_view text) {
  for (std::size_t i = skip_ascii(text, 0); i < text.size(); i = skip_ascii(text, i)) {
    const Utf8Character character = decode_utf8(text.substr(i));
    if (!character.valid) return i;
    i += character.length;
  }
  return std::string_view::npos;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size() + 16);
  for (std::size_t bad; (bad = find_invalid_utf8(text)) != std::string_view::npos;) {
    repaired.append(text.substr(0, bad));
    append_utf8(repaired, replacement_character);
    text.remove_prefix(bad + decode_utf8(text.substr(bad)).length);
  }
  return repaired.append(text);
}

void append_utf8(std::string& text, char32_t code) {
  if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) code = replacement_character;
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0 | code >> 6);
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0 | code >> 12);
    text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | code >> 18);
    text += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (code & 0x3F));
  }
}

std::size_t complete_utf8_prefix(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t start = text.size() - back;
    const unsigned lead = byte_at(text, start);
    if (lead >= 0x80 && lead <= 0xBF) continue;
    const std::size_t needed = lead >= 0xF0 && lead <= 0xF4   ? 4
                               : lead >= 0xE0 && lead <= 0xEF ? 3
                               : lead >= 0xC2 && lead <= 0xDF ? 2
                                                              : 1;
    // Unfinished only when what is here so far could still become a character.
    const bool unfinished = needed > back && decode_utf8(text.substr(start)).length == back;
    return unfinished ? start : text.size();
  }
  return text.size();
}

}  // namespace memengine
