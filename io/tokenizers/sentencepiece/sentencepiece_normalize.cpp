// The map is a double-array trie (darts-clone) of the character sequences that are replaced. A unit
// of 32 bits has in its low byte the byte by which it was reached, in bit 8 whether a sequence ends
// here, and above that where its children are: at (offset xor byte). The unit at the offset itself
// holds, where a sequence ends, the place of its replacement.
#include "io/tokenizers/sentencepiece/sentencepiece_normalize.h"

#include <cstring>

#include "io/text/utf8.h"

namespace memengine {
namespace {

std::uint32_t unit_offset(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

}  // namespace

bool SentencePieceNormalizer::load(const SentencePieceProto& proto) {
  space_in_front_ = proto.space_in_front;
  trims_ = proto.trims;
  escapes_ = proto.escapes;
  std::string_view map = proto.character_map;
  if (map.empty()) return true;
  std::uint32_t trie_bytes = 0;
  if (map.size() < sizeof trie_bytes) return false;
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  map.remove_prefix(sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes >= map.size()) return false;
  trie_.resize(trie_bytes / 4);
  std::memcpy(trie_.data(), map.data(), trie_bytes);
  replacements_ = map.substr(trie_bytes);
  return replacements_.back() == '\0';
}

std::pair<std::string_view, std::size_t> SentencePieceNormalizer::replace_front(
    std::string_view text) const {
  std::size_t longest = 0, place = 0;
  if (!trie_.empty()) {
    std::size_t at = unit_offset(trie_[0]);
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::uint32_t byte = static_cast<unsigned char>(text[i]);
      at ^= byte;
      if (at >= trie_.size() || (trie_[at] & (1u << 31 | 0xFF)) != byte) break;
      const std::uint32_t unit = trie_[at];
      at ^= unit_offset(unit);
      if (at >= trie_.size()) break;
      if ((unit >> 8 & 1) != 0) longest = i + 1, place = trie_[at] & 0x7FFFFFFF;
    }
  }
  if (longest > 0 && place < replacements_.size()) {
    return {std::string_view(replacements_.data() + place), longest};
  }
  const std::size_t length = decode_utf8(text).length;
  return {text.substr(0, length), length};
}

std::string SentencePieceNormalizer::normalize(std::string_view text) const {
  const std::string_view space = escapes_ ? sentencepiece_space : std::string_view(" ");
  while (trims_ && !text.empty()) {
    const auto [front, bytes] = replace_front(text);
    if (front != " ") break;
    text.remove_prefix(bytes);
  }
  std::string result;
  if (text.empty()) return result;
  result.reserve(text.size() + text.size() / 2);
  if (space_in_front_) result += space;
  bool after_space = trims_;
  while (!text.empty()) {
    auto [front, bytes] = replace_front(text);
    text.remove_prefix(bytes);
    while (after_space && front.starts_with(' ')) front.remove_prefix(1);
    if (front.empty()) continue;
    for (const char c : front) {
      if (c == ' ') {
        result += space;
      } else {
        result += c;
      }
    }
    after_space = trims_ && front.ends_with(' ');
  }
  while (trims_ && result.ends_with(space)) result.resize(result.size() - space.size());
  return result;
}

}  // namespace memengine
