// The program: reads the command line and turns errors into one line and an exit code.
//
//   0  done      2  the user's input is wrong      3  training diverged      1  anything else
//   128 + n  stopped by signal n with work left; the same command goes on
#include <fmt/format.h>

#include <csignal>
#include <cstring>

#include "cli/program/run_program.h"
#include "cli/terminal.h"

namespace {

// A command that is done is not done well when what it says was lost.
int finish_output(int code) {
  const int trouble = memengine::output_trouble();  // std::cout writes through stdout
  if (code != 0 || trouble == 0) return code;
  fmt::print(stderr, "memengine: all is done, but the output could not be written: {}\n",
             std::strerror(trouble));
  return 1;
}

}  // namespace

int main(int argument_count, char** arguments) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file above `ulimit -f` is then an error of the write
  return finish_output(memengine::run_program(argument_count, arguments));
}
