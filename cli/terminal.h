// What commands that work for a while share: a live line, and a polite way to be stopped.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "engine/run/run_lines.h"
#include "kernels/runtime/printable.h"

namespace memengine {

// A text of several lines that we made, among the arguments of print().
struct Lines {
  std::string text;
};

template <typename T>
auto shown(const T& value) {
  if constexpr (std::is_same_v<T, Lines>) {
    return printable_lines(value.text);
  } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return printable(value);
  } else {
    return value;
  }
}

template <typename T>
using Shown = decltype(shown(std::declval<const T&>()));

// fmt::print to standard output, and the way by which all words of commands get there: every text
// among the arguments is made printable and one line (kernels/runtime/printable.h).
template <typename... Args>
void print(fmt::format_string<Shown<std::remove_cvref_t<Args>>...> text, const Args&... args) {
  const std::tuple<Shown<Args>...> safe(shown(args)...);
  fmt::print("{}", std::apply(
                       [&](const auto&... arguments) {
                         return fmt::vformat(fmt::string_view(text),
                                             fmt::make_format_args(arguments...));
                       },
                       safe));
}

// A model's text: on a terminal without control characters but line feeds and tabs, elsewhere as it
// is.
void print_text(std::string_view text);

// One line that is written over on a terminal; elsewhere (a file, a pipe) each is a plain line.
class LiveLine {
 public:
  LiveLine();
  ~LiveLine();  // leaves the cursor below the line
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  bool terminal() const { return terminal_; }
  // Columns that a live line may fill now, as the window is; 0: any, there is no terminal.
  std::size_t width() const;
  // Replaces the live line, made printable and cut to the terminal's width.
  void show(const std::string& line);
  // The same of the columns that have room.
  void show(const std::vector<LineColumn>& columns);
  // A line that stays, in the place of the live line.
  void say(const std::string& line);
  // A line that stays, above the live line.
  void say_above(const std::string& line);
  // The live line, if any, stays as it is; the next one goes below.
  void keep();
  // Takes the live line away.
  void clear();

 private:
  bool terminal_;
  bool live_ = false;
  std::string shown_;  // the live line
};

// From here on the signals that ask a program to end, or a batch job to come to one, only count:
// SIGINT, SIGTERM, SIGUSR1, SIGUSR2 (the reference's SLURM launcher sends it before the time
// limit), SIGHUP (a terminal that goes away) and SIGXCPU. The first is acknowledged at once with
// `answer`, a line on stderr (null: none). A SIGINT after it ends the process at once, and so does
// a second SIGTERM; the others come several times, or one after the other, by themselves. What was
// ignored when the program started (nohup) stays ignored.
void catch_stop_signals(const char* answer);
bool stop_requested();
// The first of them that came; 0: none.
int stop_signal();

// Why output could not be written to stdout: an errno, or 0. A pipe that nobody reads any more is
// no trouble.
int output_trouble();

// Thrown by a command that a signal stopped with work left, after it said so and left a state from
// which the same command goes on. The program's exit code is then 128 + signal, as a shell's is: a
// scheduler that reruns what did not end with 0 goes on with it.
struct Stopped {
  int signal = 0;
};

// Thrown by a command that ends with an exit code of which all has been said: by another rank, or
// here already.
struct EndedQuietly {
  int code = 0;
};

// "126,601,234".
std::string grouped(std::int64_t number);
// "1 shard", "2,000 shards".
std::string counted(std::int64_t number, const std::string& noun);

}  // namespace memengine
