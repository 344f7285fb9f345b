// See the header.
#include "io/tokenizers/hugging_face/decoder.h"

#include <charconv>

#include "io/tokenizers/byte_letters.h"

namespace memengine {

void Decoder::add(const JsonNode& node, int depth) {
  const std::string_view type = node.type();
  if (type == "Sequence") {
    if (depth > 8) node.refuse("sequences nested too deep");
    for (const JsonNode& part : node.at("decoders").list()) add(part, depth + 1);
  } else if (type == "ByteLevel") {
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Replace") {
    const JsonNode pattern = node.at("pattern");
    if (!pattern.has("String")) pattern.refuse("a regular expression is not supported here");
    const std::string_view text = pattern.text("String");
    if (text.empty()) pattern.refuse("an empty text matches nowhere");
    replacements_.emplace_back(text, node.text("content"));
  } else if (type == "Metaspace") {
    const std::string_view mark = node.text("replacement");
    if (mark.empty()) node.at("replacement").refuse("is empty");
    replacements_.emplace_back(mark, " ");
    const std::string_view scheme =
        node.text_or("prepend_scheme", node.flag_or("add_prefix_space", true) ? "always" : "never");
    if (scheme != "never") stripped_ = " ", strip_most_ = 1;
  } else if (type == "Strip") {
    if (!node.at("stop").is_zero()) node.refuse("Strip at the end is not supported");
    stripped_ = node.text("content");
    strip_most_ = node.at("start").token_id();
  } else if (type != "Fuse") {
    node.unsupported("decoder");
  }
  if (replacements_.size() > 64) node.refuse("more than 64 decoders");
}

bool Decoder::is_byte(std::string_view token) const {
  unsigned value = 0;
  return byte_fallback_ && token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') &&
         std::from_chars(token.data() + 3, token.data() + 5, value, 16).ptr == token.data() + 5;
}

std::string Decoder::bytes_of(std::string_view token) const {
  if (byte_level_) {
    if (auto bytes = bytes_of_letters(token)) return *bytes;
  }
  if (is_byte(token)) {
    unsigned value = 0;
    std::from_chars(token.data() + 3, token.data() + 5, value, 16);
    return std::string(1, static_cast<char>(value));
  }
  std::string text(token);
  for (const auto& [from, to] : replacements_) {
    for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
      text.replace(at, from.size(), to);
    }
  }
  return text;
}

std::size_t Decoder::not_text(std::string_view text) const {
  std::size_t bytes = 0;
  for (std::int32_t i = 0; i < strip_most_ && !stripped_.empty(); ++i) {
    if (!text.substr(bytes).starts_with(stripped_)) break;
    bytes += stripped_.size();
  }
  return bytes;
}

}  // namespace memengine
