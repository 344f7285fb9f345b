// The map is a double-array trie (darts-clone) of the character sequences that are replaced. A unit
// of 32 bits has in its low byte the byte by which it was reached, in bit 8 whether a sequence ends
// here, and above that where its children are: at (offset xor byte). The unit at the offset itself
// holds, where a sequence ends, the place of its replacement.
#include "io/tokenizers/sentencepiece/sentencepiece_normalize.h"

#include <algorithm>
#include <cstring>

#include "io/text/utf8.h"

namespace memengine {
namespace {

std::uint32_t unit_offset(std::uint32_t unit) {
  return (unit >> 10) << ((unit & (1u << 9)) >> 6);
}

// The two parts of a map; false when its first number does not fit it.
bool split_map(std::string_view map, std::vector<std::uint32_t>& trie,
               std::string_view& replacements) {
  std::uint32_t trie_bytes = 0;
  if (map.size() < sizeof trie_bytes) return false;
  std::memcpy(&trie_bytes, map.data(), sizeof trie_bytes);
  map.remove_prefix(sizeof trie_bytes);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes >= map.size()) return false;
  trie.resize(trie_bytes / 4);
  std::memcpy(trie.data(), map.data(), trie_bytes);
  replacements = map.substr(trie_bytes);
  return replacements.back() == '\0';
}

// Follows every way through a trie once.
class TrieWalk {
 public:
  TrieWalk(const std::vector<std::uint32_t>& trie, std::string_view replacements)
      : trie_(trie), replacements_(replacements), sequences_(trie.size(), unknown) {}

  bool is_sound() { return below(unit_offset(trie_[0]), 0) != unsound; }

 private:
  static constexpr std::int16_t unknown = -1, unsound = -2;
  static constexpr std::int16_t most_sequences = 32;  // that one text begins with, in the library
  static constexpr int most_bytes = 256;              // of a sequence; a circle has no end

  // The most sequences on a way down from the node whose children are around `base`.
  std::int16_t below(std::size_t base, int depth) {
    if ((base | 0xFF) >= trie_.size() || depth > most_bytes) return unsound;
    if (sequences_[base] != unknown) return sequences_[base];
    std::int16_t most = 0;
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const std::size_t child = base ^ byte;
      const std::uint32_t unit = trie_[child];
      if ((unit & (1u << 31 | 0xFF)) != byte) continue;
      const std::size_t next = child ^ unit_offset(unit);
      std::int16_t count = below(next, depth + 1);
      if (count == unsound) return unsound;
      if ((unit >> 8 & 1) != 0) {
        if (!is_replacement(trie_[next] & 0x7FFFFFFF)) return unsound;
        ++count;
      }
      most = std::max(most, count);
    }
    if (most > most_sequences) return unsound;
    return sequences_[base] = most;
  }

  bool is_replacement(std::size_t place) const {
    if (place >= replacements_.size()) return false;
    const std::string_view text(replacements_.data() + place);  // the map ends with a zero
    return find_invalid_utf8(text) == text.npos;
  }

  const std::vector<std::uint32_t>& trie_;
  std::string_view replacements_;
  std::vector<std::int16_t> sequences_;  // below each node that was visited
};

constexpr std::size_t max_map_bytes = 16u << 20;  // NFKC's has 240 kB

}  // namespace

bool is_sound_character_map(std::string_view map) {
  std::vector<std::uint32_t> trie;
  std::string_view replacements;
  return map.size() <= max_map_bytes && split_map(map, trie, replacements) &&
         TrieWalk(trie, replacements).is_sound();
}

bool SentencePieceNormalizer::load(const SentencePieceProto& proto) {
  space_in_front_ = proto.space_in_front;
  trims_ = proto.trims;
  escapes_ = proto.escapes;
  if (proto.character_map.empty()) return true;
  std::string_view replacements;
  if (!split_map(proto.character_map, trie_, replacements)) return false;
  replacements_ = replacements;
  return true;
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
