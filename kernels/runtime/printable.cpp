// One walk over the characters; what becomes of those that a terminal would obey is the caller's.
#include "kernels/runtime/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace memengine {
namespace {

// The character at the front of a text and its length; 0 where the bytes are not UTF-8. Overlong
// forms, surrogates and numbers above U+10FFFF are not.
struct Character {
  std::uint32_t code = 0;
  std::size_t length = 0;
};

Character front_of(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const std::size_t length = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4 || text.size() < length) return {};
  std::uint32_t code = byte(0) & (0xFFu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<std::uint32_t, 5> least = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = code >= 0xD800 && code < 0xE000;
  if (code < least[length] || code > 0x10FFFF || surrogate) return {};
  return {code, length};
}

bool is_obeyed(std::uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x200E || code == 0x200F ||
         (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

// `obeyed(text, code)` and `broken(text, byte)` append what stands for such characters and bytes.
template <typename Obeyed, typename Broken>
std::string rewritten(std::string_view text, bool keep_lines, Obeyed obeyed, Broken broken) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const Character front = front_of(text);
    const std::size_t length = std::max<std::size_t>(front.length, 1);
    if (front.length == 0) {
      broken(result, static_cast<unsigned char>(text[0]));
    } else if (is_obeyed(front.code) &&
               !(keep_lines && (front.code == '\n' || front.code == '\t'))) {
      obeyed(result, front.code);
    } else {
      result += text.substr(0, length);
    }
    text.remove_prefix(length);
  }
  return result;
}

std::string escaped(std::string_view text, bool keep_lines) {
  const auto byte = [](std::string& result, std::uint32_t value) {
    result += fmt::format("\\x{:02x}", value);
  };
  const auto character = [&byte](std::string& result, std::uint32_t code) {
    if (code == '\n') {
      result += "\\n";
    } else if (code == '\r') {
      result += "\\r";
    } else if (code == '\t') {
      result += "\\t";
    } else if (code < 0x80) {
      byte(result, code);
    } else {
      result += fmt::format("\\u{:04x}", code);
    }
  };
  return rewritten(text, keep_lines, character, byte);
}

}  // namespace

std::string printable(std::string_view text) {
  return escaped(text, false);
}

std::string printable_lines(std::string_view text) {
  return escaped(text, true);
}

std::string without_controls(std::string_view text) {
  return rewritten(
      text, true, [](std::string& /*result*/, std::uint32_t /*code*/) {},
      [](std::string& result, std::uint32_t /*byte*/) { result += "\xEF\xBF\xBD"; });
}

}  // namespace memengine
