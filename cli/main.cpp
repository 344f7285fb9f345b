// The program: reads the command line and turns errors into one line and an exit code.
//
//   0  done      2  the user's input is wrong      3  training diverged      1  anything else
//   128 + n  stopped by signal n with work left; the same command goes on
#include <fmt/format.h>

#include <csignal>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <system_error>

#include "cli/command.h"
#include "cli/program/program.h"
#include "cli/terminal.h"
#include "engine/training/bad_numbers.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace {

// The help of the command that was called.
std::string help_of(const CLI::App& program, int argument_count, char** arguments) {
  std::string command;
  for (const CLI::App* known : program.get_subcommands([](const CLI::App*) { return true; })) {
    if (argument_count > 1 && known->get_name() == arguments[1]) command = known->get_name() + " ";
  }
  return "memengine " + command + "--help";
}

// A command that is done is not done well when what it says was lost.
int finish_output(int code) {
  const int trouble = memengine::output_trouble();  // std::cout writes through stdout
  if (code != 0 || trouble == 0) return code;
  fmt::print(stderr, "memengine: all is done, but the output could not be written: {}\n",
             std::strerror(trouble));
  return 1;
}

int run_program(int argument_count, char** arguments) {
  const std::unique_ptr<CLI::App> made = memengine::make_program();
  CLI::App& program = *made;
  try {
    if (argument_count > 1) memengine::check_command(program, arguments[1]);
    program.parse(argument_count, arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // help was asked for
    fmt::print(stderr, "memengine: {} (see {})\n", memengine::printable(error.what()),
               help_of(program, argument_count, arguments));
    return 2;
  } catch (const memengine::Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const memengine::EndedQuietly& ended) {
    return ended.code;
  } catch (const memengine::DivergedError& error) {
    fmt::print(stderr, "memengine: {}\n", error.what());
    return 3;
  } catch (const memengine::Error& error) {
    fmt::print(stderr, "memengine: {}\n", error.what());
    return error.kind() == memengine::Error::Kind::input ? 2 : 1;
  } catch (const std::filesystem::filesystem_error& error) {
    // A path that cannot be read or written is the user's to mend.
    fmt::print(stderr, "memengine: {}: {}; check the path and its permissions\n",
               memengine::printable(error.path1().string()), error.code().message());
    return 2;
  } catch (const std::system_error& error) {
    const bool threads = error.code() == std::errc::resource_unavailable_try_again;
    fmt::print(stderr, "memengine: {}\n",
               threads ? "the system starts no more threads: raise the limit of processes "
                         "(`ulimit -u`, or the container's) or that of memory (`ulimit -v`)"
                       : error.what());
    return threads ? 2 : 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "memengine: out of host memory\n");
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "memengine: {}\n", memengine::printable(error.what()));
    return 1;
  }
}

}  // namespace

int main(int argument_count, char** arguments) {
  std::signal(SIGXFSZ, SIG_IGN);  // a file above `ulimit -f` is then an error of the write
  return finish_output(run_program(argument_count, arguments));
}
