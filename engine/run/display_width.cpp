// Widths by ranges of code points, after Unicode's East Asian Width W and F.
#include "engine/run/display_width.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "io/text/utf8.h"

namespace memengine {
namespace {

struct CodeRange {
  char32_t first, last;
};

// Ranges are joined where only unassigned characters lie between.
constexpr CodeRange wide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},
                              {0xA960, 0xA97C},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},
                              {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
                              {0x1F300, 0x1F64F}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD}};
constexpr CodeRange marks[] = {
    {0x0300, 0x036F}, {0x200B, 0x200F}, {0x20D0, 0x20F0}, {0xFE00, 0xFE0F}};

bool in(char32_t code, std::span<const CodeRange> ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [code](const CodeRange& range) {
    return range.first <= code && code <= range.last;
  });
}

std::size_t width_of(char32_t code) {
  if (in(code, marks)) return 0;
  return in(code, wide) ? 2 : 1;
}

}  // namespace

std::size_t display_width(const std::string& text) {
  std::size_t width = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Character character = decode_utf8(rest);
    width += width_of(character.code);
    rest.remove_prefix(character.length);
  }
  return width;
}

std::string fit_text(const std::string& text, std::size_t width) {
  if (width == 0 || display_width(text) <= width) return text;
  std::string fitted;
  std::size_t used = 1;  // of the ellipsis
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Character character = decode_utf8(rest);
    used += width_of(character.code);
    if (used > width) break;
    fitted += rest.substr(0, character.length);
    rest.remove_prefix(character.length);
  }
  return fitted + "…";
}

}  // namespace memengine
