// Makes every message one printable line of a length that can be read, and formats messages on
// behalf of nvcc's files, whose compiler cannot read fmt's headers.
//
// A message quotes what a user wrote, and that may be long: of a word above 400 bytes, and of a
// line above 3,000, the middle is left out, and how much of it is said.
#include "kernels/runtime/error.h"

#include <fmt/args.h>

#include <algorithm>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

constexpr std::size_t longest_word = 400, longest_line = 3000;

std::string without_middle(std::string_view text, std::size_t most) {
  if (text.size() <= most) return std::string(text);
  const auto within = [&](std::size_t at) {  // a character
    return (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80;
  };
  std::size_t head = most / 2, tail = text.size() - most / 4;
  while (within(head)) --head;
  while (tail < text.size() && within(tail)) ++tail;
  return fmt::format("{}...[{} bytes]...{}", text.substr(0, head), tail - head, text.substr(tail));
}

std::string message_line(std::string_view text) {
  const std::string line = printable(text);
  std::string result;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    result += without_middle(std::string_view(line).substr(at, end - at), longest_word);
    if (end < line.size()) result += ' ';
    at = end + 1;
  }
  return without_middle(result, longest_line);
}

}  // namespace

Error::Error(Kind kind, const std::string& message)
    : std::runtime_error(message_line(message)), kind_(kind) {}

using FormatArgument = std::variant<long long, double, std::string>;

std::string format_arguments(const char* text, const std::vector<FormatArgument>& arguments) {
  fmt::dynamic_format_arg_store<fmt::format_context> store;
  for (const FormatArgument& argument : arguments) {
    std::visit([&](const auto& value) { store.push_back(value); }, argument);
  }
  return fmt::vformat(text, store);
}

}  // namespace memengine
