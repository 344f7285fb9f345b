// The terminal, signals and numbers for people.
#include "cli/terminal.h"

#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

#include "engine/run/display_width.h"

namespace memengine {
namespace {

std::atomic<int> first_signal{0};  // lock-free, so that a handler on any thread may set it

extern "C" void note_signal(int signal) {
  int none = 0;
  if (first_signal.compare_exchange_strong(none, signal)) return;
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// Unlike fmt::print it does not throw when nobody reads or the disk of a redirection is full: that
// is no reason to end hours of work.
void put(const std::string& text) {
  std::fputs(text.c_str(), stdout);
}

}  // namespace

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
  put("\r\x1b[K" + fit_text(line, width()));
  std::fflush(stdout);
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
  put(line + "\n");
  std::fflush(stdout);
}

void LiveLine::say_above(const std::string& line) {
  const bool live = live_;
  say(line);
  if (live) show(shown_);
}

void catch_stop_signals() {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, note_signal);
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
