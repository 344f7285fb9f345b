// The loader of tiktoken rank files, and encoding and decoding with what it accepts.
//
// A rank file must hold all 256 bytes, which mutations seldom leave whole: when the input starts
// with 'r' the rest follows 256 good lines.
#include "io/tokenizers/tiktoken/tiktoken.h"

#include "tests/fuzz/fuzz_target.h"

namespace {

std::string base64(std::string_view bytes) {
  static constexpr char digits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += i + k > bytes.size() ? '=' : digits[bits >> (18 - 6 * k) & 63];
    }
  }
  return text;
}

const std::string& byte_lines() {
  static const std::string lines = [] {
    std::string made;
    for (int value = 0; value < 256; ++value) {
      const char byte = static_cast<char>(value);
      made += base64({&byte, 1}) + " " + std::to_string(value) + "\n";
    }
    return made;
  }();
  return lines;
}

}  // namespace

std::vector<std::string> fuzz_seeds() {
  const auto rank = [](std::string_view token, int number) {
    return base64(token) + " " + std::to_string(number) + "\n";
  };
  return {
      byte_lines(),
      byte_lines() + rank("th", 256) + rank("the", 257),
      "r" + rank("aa", 256) + rank("aaa", 257) + rank(" the", 258) + rank("\xC3\xA9", 259),
      "r" + rank("ab", 256) + "\r\n" + rank("abc", 257) + "YWJjZA== 258",
      "rYWI= 256\nYWI= 257\n",
      "rYWI= 99999999999999999999\n",
      "rYW= 256\n",
  };
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string file(fuzz_text(bytes, size));
  if (file.starts_with('r')) file.replace(0, 1, byte_lines());
  fuzz_accepts([&] {
    const auto tokenizer = memengine::parse_tiktoken("ranks", file);
    const auto ids = tokenizer->encode(file, true, true);
    for (const std::int32_t id : ids) {
      fuzz_check(id >= 0 && id < tokenizer->vocab_size(), "an id outside the vocabulary");
    }
    std::string again;
    for (const std::int32_t id : ids) again += tokenizer->token_bytes(id);
    fuzz_check(tokenizer->decode(ids).size() >= again.size(), "decode lost bytes");
    fuzz_check(again.size() >= file.size(), "the tokens hold less than the text");
  });
  return 0;
}
