// The decoder of a tokenizer.json: tokens back to text. ByteLevel, Replace, ByteFallback, Fuse,
// Strip at the front, Metaspace, and Sequences of them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tokenizers/hugging_face/json_node.h"

namespace memengine {

class Decoder {
 public:
  // Without a decoder: tokens as they are written, or as bytes where the tokenizer is byte-level.
  explicit Decoder(bool byte_level) : byte_level_(byte_level) {}
  // Input error: another type of decoder, named.
  explicit Decoder(const JsonNode& decoder) { add(decoder, 0); }

  // The bytes of one token among others.
  std::string bytes_of(std::string_view token) const;

  // What is not text at the front of a whole: that many bytes of `text`, the joined bytes.
  std::size_t not_text(std::string_view text) const;

  // Whether the token is one byte written as <0xHH>.
  bool is_byte(std::string_view token) const;

 private:
  void add(const JsonNode& node, int depth);

  bool byte_level_ = false, byte_fallback_ = false;
  std::vector<std::pair<std::string, std::string>> replacements_;
  std::string stripped_;  // at the front
  std::int32_t strip_most_ = 0;
};

}  // namespace memengine
