// The terminal, signals and numbers for people.
#include "cli/terminal.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

#include "engine/run/display_width.h"

namespace memengine {
namespace {

constexpr int stop_signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU};

// Lock-free, so that a handler on any thread may set them.
std::atomic<int> first_signal{0};
std::atomic<int> first_urgent{0};  // SIGINT or SIGTERM
std::string answer_line;           // set before the handlers are

extern "C" void note_signal(int signal) {
  const int kept = errno;
  int none = 0;
  const bool first = first_signal.compare_exchange_strong(none, signal);
  bool again = false;
  if (signal == SIGINT || signal == SIGTERM) {
    int nothing = 0;
    again = !first_urgent.compare_exchange_strong(nothing, signal);
  }
  if (again || (signal == SIGINT && !first)) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  } else if (first) {
    [[maybe_unused]] const ssize_t written =
        ::write(STDERR_FILENO, answer_line.data(), answer_line.size());
  }
  errno = kept;
}

int trouble = 0;  // the first errno of stdout

void note_trouble(bool failed) {
  if (failed && trouble == 0) trouble = errno;
}

// Unlike fmt::print these do not throw when nobody reads or the disk of a redirection is full: that
// is no reason to end hours of work. main() tells about it at the end.
void put(const std::string& text) {
  note_trouble(std::fputs(text.c_str(), stdout) == EOF);
}

void flush() {
  note_trouble(std::fflush(stdout) != 0);
}

}  // namespace

void print_text(std::string_view text) {
  static const bool terminal = isatty(STDOUT_FILENO) != 0;
  fmt::print("{}", terminal ? without_controls(text) : std::string(text));
}

LiveLine::LiveLine() : terminal_(isatty(STDOUT_FILENO) != 0) {}

LiveLine::~LiveLine() {
  if (live_) put("\n");
}

std::size_t LiveLine::width() const {
  if (!terminal_) return 0;
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 2) return 0;
  return size.ws_col - 1U;  // a letter in the last column makes some terminals wrap
}

void LiveLine::show(const std::string& line) {
  if (!terminal_) {
    say(line);
    return;
  }
  shown_ = line;
  put("\r\x1b[K" + fit_text(printable(line), width()));
  flush();
  live_ = true;
}

void LiveLine::show(const std::vector<LineColumn>& columns) {
  show(fit_columns(columns, width()));
}

void LiveLine::clear() {
  if (live_) put("\r\x1b[K");
  live_ = false;
}

void LiveLine::keep() {
  if (live_) put("\n");
  live_ = false;
}

void LiveLine::say(const std::string& line) {
  clear();
  put(printable_lines(line) + "\n");
  flush();
}

void LiveLine::say_above(const std::string& line) {
  const bool live = live_;
  say(line);
  if (live) show(shown_);
}

void catch_stop_signals(const char* answer) {
  // On a terminal in place of the live line.
  answer_line = std::string(isatty(STDERR_FILENO) != 0 ? "\r\x1b[K" : "");
  answer_line = answer == nullptr ? "" : answer_line + answer + "\n";
  for (const int signal : stop_signals) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) continue;
    action = {};
    action.sa_handler = note_signal;
    action.sa_flags = SA_RESTART;
    ::sigaction(signal, &action, nullptr);
  }
}

int output_trouble() {
  flush();
  note_trouble(std::ferror(stdout) != 0 && (errno = EIO) != 0);  // somebody else's failed write
  return trouble == EPIPE ? 0 : trouble;
}

bool stop_requested() {
  return first_signal != 0;
}

int stop_signal() {
  return first_signal;
}

std::string grouped(std::int64_t number) {
  std::string digits = std::to_string(number);
  const std::size_t first = digits.starts_with('-') ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string counted(std::int64_t number, const std::string& noun) {
  return grouped(number) + " " + noun + (number == 1 ? "" : "s");
}

}  // namespace memengine
