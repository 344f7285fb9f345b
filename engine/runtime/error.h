// One error type for the whole engine.
//
// Library code never prints and never exits: it throws an Error whose message is one line that says
// what is wrong, where, and what to do. `cli/` prints that line and turns the kind into the exit
// code: 2 when the user's input is at fault, 1 for anything else.
#pragma once

#ifdef __CUDACC__
#define FMT_CONSTEVAL  // nvcc cannot evaluate fmt's compile-time format checks; g++ makes them
#endif
#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace memengine {

class Error : public std::runtime_error {
 public:
  enum class Kind {
    input,     // a config, file, argument or machine that cannot serve the request: exit code 2
    internal,  // a broken invariant, a failed device call: exit code 1
  };

  Error(Kind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}

  Kind kind() const { return kind_; }

 private:
  Kind kind_;
};

// The user's input is at fault (exit code 2). Arguments as for fmt::format.
template <typename... Args>
[[noreturn]] void fail_input(fmt::format_string<Args...> message, Args&&... args) {
  throw Error(Error::Kind::input, fmt::format(message, std::forward<Args>(args)...));
}

// The engine or the machine is at fault (exit code 1). Arguments as for fmt::format.
template <typename... Args>
[[noreturn]] void fail_internal(fmt::format_string<Args...> message, Args&&... args) {
  throw Error(Error::Kind::internal, fmt::format(message, std::forward<Args>(args)...));
}

}  // namespace memengine
