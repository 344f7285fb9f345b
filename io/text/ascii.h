// Kinds of ASCII characters. The C library's ask the locale and fail on bytes above 127.
#pragma once

namespace memengine {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

}  // namespace memengine
