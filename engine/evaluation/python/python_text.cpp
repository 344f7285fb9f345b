// Python's string methods on UTF-8 text.
#include "engine/evaluation/python/python_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/evaluation/python/regex.h"
#include "io/text/utf8.h"

namespace memengine {
namespace {

// str.isspace(): Unicode's White_Space, and the four ASCII separators 0x1C to 0x1F.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0) == 0x80;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Roman numerals and circled letters have two cases but are no letters, so PCRE2 leaves them.
std::string lower_numerals(std::string text) {
  if (text.find("\xE2\x85") == text.npos && text.find("\xE2\x92") == text.npos &&
      text.find("\xE2\x93") == text.npos) {
    return text;
  }
  std::string lower;
  for (std::string_view rest = text; !rest.empty();) {
    Utf8Character c = decode_utf8(rest);
    rest.remove_prefix(c.length);
    if (c.code >= 0x2160 && c.code <= 0x216F) c.code += 16;
    if (c.code >= 0x24B6 && c.code <= 0x24CF) c.code += 26;
    append_utf8(lower, c.code);
  }
  return lower;
}

}  // namespace

std::size_t python_length(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

std::string_view python_rstrip(std::string_view text) {
  while (!text.empty()) {
    std::size_t last = text.size() - 1;
    while (last > 0 && is_continuation(text[last])) --last;
    if (!is_space(decode_utf8(text.substr(last)).code)) break;
    text = text.substr(0, last);
  }
  return text;
}

std::string_view python_strip(std::string_view text) {
  while (!text.empty()) {
    const Utf8Character first = decode_utf8(text);
    if (!is_space(first.code)) break;
    text.remove_prefix(first.length);
  }
  return python_rstrip(text);
}

std::string python_lower(std::string_view text) {
  if (is_ascii(text)) {
    std::string lower(text);
    for (char& c : lower) {
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    }
    return lower;
  }
  // A sigma after a cased letter and before none, case-ignorable characters aside.
  static const Regex final_sigma(
      "\\p{Cased}\\p{Case_Ignorable}*\\K\\x{3A3}(?!\\p{Case_Ignorable}*\\p{Cased})");
  static const Regex all("(?s).+");
  const std::string dotted = python_replace(text, "\xC4\xB0", "i\xCC\x87");
  return lower_numerals(all.replace_all(final_sigma.replace_all(dotted, "\xCF\x82"), "\\L$0"));
}

std::string python_capitalize(std::string_view text) {
  if (text.empty()) return {};
  static const Regex all("(?s).+");
  const std::size_t first = decode_utf8(text).length;
  return all.replace_all(text.substr(0, first), "\\u$0") + python_lower(text.substr(first));
}

std::string python_replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size());
  std::size_t at = 0;
  while (true) {
    const std::size_t found = text.find(from, at);
    result += text.substr(at, found == std::string_view::npos ? found : found - at);
    if (found == std::string_view::npos) return result;
    result += to;
    at = found + from.size();
  }
}

namespace {

// One character beyond ASCII: as it is where str.isprintable() says so, else escaped. Separators
// (but for the ASCII space), controls, formats, surrogates and unassigned ones are not printable.
std::string printable_or_escaped(std::string_view character) {
  static const Regex unprintable("[\\p{C}\\p{Z}]");
  if (!unprintable.replace_all(character, "").empty()) return std::string(character);
  std::uint32_t code = static_cast<unsigned char>(character[0]) & (0xFFU >> (character.size() + 1));
  for (const char c : character.substr(1)) code = code << 6 | (static_cast<unsigned char>(c) & 63U);
  if (code < 0x100) return fmt::format("\\x{:02x}", code);
  return code < 0x10000 ? fmt::format("\\u{:04x}", code) : fmt::format("\\U{:08x}", code);
}

}  // namespace

std::string python_repr(std::string_view text) {
  const bool double_quotes =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  std::string repr(1, quote);
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x80) {
      const std::size_t bytes = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : 2;
      repr += printable_or_escaped(text.substr(at, bytes));
      at += bytes - 1;
    } else if (c == quote || c == '\\') {
      repr += '\\';
      repr += c;
    } else if (c == '\n') {
      repr += "\\n";
    } else if (c == '\r') {
      repr += "\\r";
    } else if (c == '\t') {
      repr += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      repr += fmt::format("\\x{:02x}", byte);
    } else {
      repr += c;
    }
  }
  return repr + quote;
}

std::string python_repr(std::span<const std::string> texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "[" : ", ") + python_repr(text);
  return list.empty() ? "[]" : list + "]";
}

std::string python_repr(double value) {
  std::string repr = fmt::format("{}", value);
  if (repr.find_first_of(".enai") == std::string::npos) repr += ".0";
  return repr;
}

}  // namespace memengine
