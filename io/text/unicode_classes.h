// The classes of characters that tokenizers' split patterns speak of, by Unicode 16.0.
//
// The tables are our own because libraries differ: a character that one version of Unicode calls a
// letter is unassigned in an older one, and then a text is cut, and tokenized, in another way.
#pragma once

#include <cstdint>

namespace memengine {

// \p{L}, \p{N}, \s (the property White_Space), and all others.
enum class CharacterClass : std::uint8_t { other, letter, number, white_space };

// Any 32-bit value may be asked for; what is no character is `other`.
CharacterClass character_class(char32_t character);

}  // namespace memengine
