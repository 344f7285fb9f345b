// The split pattern: whatever the text, its pieces are the text.
#include "io/tokenizers/tiktoken/tiktoken_split.h"

#include "io/text/utf8.h"
#include "tests/fuzz/fuzz_target.h"

std::vector<std::string> fuzz_seeds() {
  return {
      "I'll we'Ve it'S \xC5\xBF'\xC5\xBF  don't",
      "1234567 12 \xD9\xA1\xD9\xA2\xD9\xA3\xD9\xA4 \xE2\x85\xA7",
      "a \n\n b\r\n\r\n  \t c!!\n\n?\xC2\x85\xC2\xA0\xE3\x80\x80 ",
      "e\xCC\x81\xCC\x81 \xE4\xBD\xA0\xE5\xA5\xBD \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80",
      std::string(200, ' ') + "x" + std::string(200, '-') + std::string("\0\0", 2),
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  const std::string text = memengine::replace_invalid_utf8(fuzz_text(bytes, size));
  memengine::TiktokenPieces walk(text);
  std::size_t at = 0;
  for (std::string_view piece; !(piece = walk.next()).empty(); at += piece.size()) {
    fuzz_check(piece.data() == text.data() + at, "a piece does not follow the one before it");
    fuzz_check(memengine::find_invalid_utf8(piece) == piece.npos, "a piece cuts a character");
  }
  fuzz_check(at == text.size(), "the pieces end before the text");
  return 0;
}
