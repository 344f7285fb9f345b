#include "engine/report/html.h"

#include "io/text/utf8.h"

namespace memengine {
namespace {

bool is_unfit(char32_t code) {
  if (code == '\n' || code == '\t') return false;
  const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
  const bool direction = code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
                         (code >= 0x2066 && code <= 0x2069);
  const bool no_character =
      (code >= 0xD800 && code < 0xE000) || (code & 0xFFFE) == 0xFFFE || code > 0x10FFFF;
  return control || direction || no_character;
}

}  // namespace

std::string html_text(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size());
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Character character = decode_utf8(rest);
    switch (character.code) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        // A byte that is no UTF-8 was decoded as U+FFFD.
        if (is_unfit(character.code) || character.code == 0xFFFD) {
          escaped += "\xEF\xBF\xBD";
        } else {
          escaped += rest.substr(0, character.length);
        }
    }
    rest.remove_prefix(character.length);
  }
  return escaped;
}

std::string html_element(std::string_view tag, HtmlAttributes attributes,
                         std::string_view content) {
  std::string html = "<";
  html += tag;
  for (const auto& [name, value] : attributes) {
    html += ' ';
    html += name;
    html += "=\"";
    html += html_text(value);
    html += '"';
  }
  html += '>';
  html += content;
  html += "</";
  html += tag;
  html += '>';
  return html;
}

std::string html_element(std::string_view tag, std::string_view text) {
  return html_element(tag, {}, html_text(text));
}

}  // namespace memengine
