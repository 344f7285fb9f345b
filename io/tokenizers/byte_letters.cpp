// One table and its inverse.
#include "io/tokenizers/byte_letters.h"

#include <array>

#include "io/text/utf8.h"

namespace memengine {
namespace {

struct Letters {
  std::array<char32_t, 256> of_byte{};
  std::array<int, 512> to_byte{};

  Letters() {
    to_byte.fill(-1);
    char32_t next = 256;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const bool itself =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      of_byte[byte] = itself ? static_cast<char32_t>(byte) : next++;
      to_byte[of_byte[byte]] = static_cast<int>(byte);
    }
  }
};

const Letters& table() {
  static const Letters letters;
  return letters;
}

}  // namespace

std::string byte_letters(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    append_utf8(text, table().of_byte[static_cast<unsigned char>(byte)]);
  }
  return text;
}

std::optional<std::string> bytes_of_letters(std::string_view letters) {
  std::string bytes;
  while (!letters.empty()) {
    const Utf8Character letter = decode_utf8(letters);
    if (letter.code >= table().to_byte.size() || table().to_byte[letter.code] < 0) return {};
    bytes += static_cast<char>(table().to_byte[letter.code]);
    letters.remove_prefix(letter.length);
  }
  return bytes;
}

}  // namespace memengine
