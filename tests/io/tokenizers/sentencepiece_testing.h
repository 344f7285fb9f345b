// SentencePiece models put together by hand, for what no trainer would write.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace memengine::testing_io {

inline std::string proto_varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}
inline std::string proto_field(unsigned number, const std::string& bytes) {
  return proto_varint(number << 3 | 2) + proto_varint(bytes.size()) + bytes;
}
inline std::string proto_field(unsigned number, unsigned value) {
  return proto_varint(number << 3) + proto_varint(value);
}

// A model of kind 1 (unigram) or 2 (BPE) over a few letters; `map` replaces characters of texts,
// `decoding_map` of decoded ones.
inline std::string sentencepiece_model(unsigned kind, const std::string& map,
                                       const std::string& decoding_map = "") {
  const auto piece = [](const std::string& text, float score, unsigned type) {
    std::string bits(4, '\0');
    std::memcpy(bits.data(), &score, 4);
    return proto_field(
        1, proto_field(1, text) + proto_varint(2 << 3 | 5) + bits + proto_field(3, type));
  };
  std::string model = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3);
  float score = 0;
  for (const char* text : {"\xe2\x96\x81", "a", "b", "c", "ab",
                           "\xe2\x96\x81"
                           "a",
                           "\xc3\xa9"}) {
    model += piece(text, score -= 1, 1);
  }
  model += proto_field(2, proto_field(3, kind) + proto_field(4, 10u));
  model += proto_field(3, proto_field(1, std::string("own")) + proto_field(2, map));
  if (!decoding_map.empty()) model += proto_field(5, proto_field(2, decoding_map));
  return model;
}

// Units of a double array (io/tokenizers/sentencepiece/sentencepiece_normalize.cpp).
struct CharacterMap {
  static constexpr std::uint32_t unused = 1u << 31;  // is nobody's child
  std::vector<std::uint32_t> units = std::vector<std::uint32_t>(512, unused);
  std::string replacements;

  static std::uint32_t node(std::uint32_t offset, std::uint32_t byte, bool ends) {
    return offset << 10 | (ends ? 1u << 8 : 0) | byte;
  }
  std::string bytes() const {
    const auto size = static_cast<std::uint32_t>(units.size() * 4);
    std::string text(4 + size, '\0');
    std::memcpy(text.data(), &size, 4);
    std::memcpy(text.data() + 4, units.data(), size);
    return text + replacements;
  }
};

// "A" becomes "ab".
inline CharacterMap small_map() {
  CharacterMap map;
  map.units[0] = CharacterMap::node(256, 0, false);
  const std::uint32_t child = 256 ^ 'A';
  map.units[child] = CharacterMap::node(child ^ 1, 'A', true);
  map.units[1] = 1u << 31 | 0;
  map.replacements = std::string("ab\0", 3);
  return map;
}

}  // namespace memengine::testing_io
