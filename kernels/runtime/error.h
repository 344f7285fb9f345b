// One error type for the whole engine.
//
// Library code never prints and never exits: it throws an Error whose message is one line that says
// what is wrong, where, and what to do. `cli/` prints that line and turns the kind into the exit
// code: 2 when the user's input is at fault, 1 for anything else.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#ifndef __CUDACC__
#include <fmt/format.h>
#else
#include <type_traits>
#include <variant>
#include <vector>
#endif

namespace memengine {

class Error : public std::runtime_error {
 public:
  enum class Kind {
    input,     // a config, file, argument or machine that cannot serve the request: exit code 2
    internal,  // a broken invariant, a failed device call: exit code 1
  };

  // What a message quotes from files and arguments is made printable, and the whole one line.
  Error(Kind kind, const std::string& message);

  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

#ifndef __CUDACC__

template <typename... Args>
using FormatString = fmt::format_string<Args...>;

template <typename... Args>
std::string format_text(FormatString<Args...> text, Args&&... args) {
  return fmt::format(text, std::forward<Args>(args)...);
}

#else  // nvcc cannot compile fmt's headers: its files hand the arguments over to error.cpp

template <typename... Args>
using FormatString = const char*;
using FormatArgument = std::variant<long long, double, std::string>;

std::string format_arguments(const char* text, const std::vector<FormatArgument>& arguments);

template <typename T>
FormatArgument format_argument(const T& value) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<long long>(value);
  else if constexpr (std::is_floating_point_v<T>)
    return static_cast<double>(value);
  else
    return std::string(value);
}

template <typename... Args>
std::string format_text(FormatString<Args...> text, Args&&... args) {
  return format_arguments(text, {format_argument(args)...});
}

#endif

// The user's input is at fault (exit code 2). Arguments as for fmt::format.
template <typename... Args>
[[noreturn]] void fail_input(FormatString<Args...> message, Args&&... args) {
  throw Error(Error::Kind::input, format_text<Args...>(message, std::forward<Args>(args)...));
}

// The engine or the machine is at fault (exit code 1). Arguments as for fmt::format.
template <typename... Args>
[[noreturn]] void fail_internal(FormatString<Args...> message, Args&&... args) {
  throw Error(Error::Kind::internal, format_text<Args...>(message, std::forward<Args>(args)...));
}

}  // namespace memengine
