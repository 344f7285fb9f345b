// What SentencePiece does to a text before it segments it: characters are replaced by the model's
// map (NFKC with changes, for most), spaces are trimmed, and U+2581 stands for a space.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/tokenizers/sentencepiece/sentencepiece_proto.h"

namespace memengine {

// Whether a map can be followed for any text without leaving it, as the library and the class below
// do: every child of every node lies in the trie, every replacement is UTF-8 and ends in the map,
// no way goes in a circle, and no text begins with more sequences than the library has room for.
bool is_sound_character_map(std::string_view map);

class SentencePieceNormalizer {
 public:
  // Takes the map and the settings of a model; false when the map is damaged.
  bool load(const SentencePieceProto& proto);

  // The normalized form of a text, which must be valid UTF-8.
  std::string normalize(std::string_view text) const;

 private:
  // What stands for the characters at the front of a text, and how many bytes these are.
  std::pair<std::string_view, std::size_t> replace_front(std::string_view text) const;

  std::vector<std::uint32_t> trie_;  // a double array; see the source
  std::string replacements_;         // texts, each with a zero after it
  bool space_in_front_ = true, trims_ = true, escapes_ = true;
};

}  // namespace memengine
