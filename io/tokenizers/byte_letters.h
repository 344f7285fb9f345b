// GPT-2's letters for bytes: printable ones for themselves, the others from U+0100 on, so that a
// vocabulary of bytes can be written as texts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace memengine {

// The letters of `bytes`, as UTF-8.
std::string byte_letters(std::string_view bytes);

// The bytes that `letters` (UTF-8) stand for; nothing when a character is not such a letter.
std::optional<std::string> bytes_of_letters(std::string_view letters);

}  // namespace memengine
