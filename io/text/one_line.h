// Names and texts from files, made safe to put into an error message of one line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "io/text/utf8.h"
#include "kernels/runtime/printable.h"

namespace memengine {

// At most `limit` bytes of a text, printable (kernels/runtime/printable.h).
inline std::string one_line(std::string_view text, std::size_t limit = 80) {
  if (text.size() > limit) text = text.substr(0, complete_utf8_prefix(text.substr(0, limit)));
  return printable(text);
}

}  // namespace memengine
