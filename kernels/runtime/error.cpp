// Makes every message one printable line, and formats messages on behalf of nvcc's files, whose
// compiler cannot read fmt's headers.
#include "kernels/runtime/error.h"

#include <fmt/args.h>

#include <variant>
#include <vector>

#include "kernels/runtime/printable.h"

namespace memengine {

Error::Error(Kind kind, const std::string& message)
    : std::runtime_error(printable(message)), kind_(kind) {}

using FormatArgument = std::variant<long long, double, std::string>;

std::string format_arguments(const char* text, const std::vector<FormatArgument>& arguments) {
  fmt::dynamic_format_arg_store<fmt::format_context> store;
  for (const FormatArgument& argument : arguments) {
    std::visit([&](const auto& value) { store.push_back(value); }, argument);
  }
  return fmt::vformat(text, store);
}

}  // namespace memengine
