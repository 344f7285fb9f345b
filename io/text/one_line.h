// Names and texts from files, made safe to put into an error message of one line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace memengine {

// At most `limit` bytes, with control characters blanked.
inline std::string one_line(std::string_view text, std::size_t limit = 80) {
  std::string out(text.substr(0, limit));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) c = ' ';
  }
  return out;
}

}  // namespace memengine
