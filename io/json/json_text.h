// Texts of any bytes, a file's name for instance, in JSON, which holds only UTF-8: others are
// written as {"hex": "ff00"}, so that they come back as they were.
#pragma once

#include <cstddef>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "io/text/utf8.h"

namespace memengine {

template <typename Json = nlohmann::json>
Json json_text(const std::string& text) {
  if (find_invalid_utf8(text) == text.npos) return text;
  static constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    hex += digits[byte >> 4];
    hex += digits[byte & 15];
  }
  return {{"hex", hex}};
}

// What json_text wrote; std::invalid_argument or a JSON exception for anything else.
inline std::string text_of_json(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  const auto& hex = value.at("hex").get_ref<const std::string&>();
  const auto digit = [&hex](std::size_t at) {
    const char c = hex[at];
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    throw std::invalid_argument("not hexadecimal");
  };
  if (hex.size() % 2 != 0) throw std::invalid_argument("half a byte");
  std::string text;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    text += static_cast<char>(digit(i) << 4 | digit(i + 1));
  }
  return text;
}

}  // namespace memengine
