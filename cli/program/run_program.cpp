#include "cli/program/run_program.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <system_error>
#include <vector>

#include "cli/command.h"
#include "cli/program/program.h"
#include "cli/terminal.h"
#include "engine/training/bad_numbers.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// A library's words as the words of an error of ours are.
std::string shortened(const std::string& message) {
  return Error(Error::Kind::input, message).what();
}

}  // namespace

int run_program(int argument_count, char** arguments) {
  const std::unique_ptr<CLI::App> made = make_program();
  CLI::App& program = *made;
  std::string command;
  try {
    const std::vector<std::string> words(arguments + std::min(argument_count, 1),
                                         arguments + argument_count);
    command = called_command(program, words);
    program.parse(argument_count, arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return program.exit(error);  // help was asked for
    fmt::print(stderr, "memengine: {} (see memengine {}--help)\n", shortened(error.what()),
               command);
    return 2;
  } catch (const Stopped& stopped) {
    return 128 + stopped.signal;
  } catch (const EndedQuietly& ended) {
    return ended.code;
  } catch (const DivergedError& error) {
    fmt::print(stderr, "memengine: {}\n", error.what());
    return 3;
  } catch (const Error& error) {
    fmt::print(stderr, "memengine: {}\n", error.what());
    return error.kind() == Error::Kind::input ? 2 : 1;
  } catch (const std::filesystem::filesystem_error& error) {
    // A path that cannot be read or written is the user's to mend.
    fmt::print(stderr, "memengine: {}: {}; check the path and its permissions\n",
               shortened(error.path1().string()), error.code().message());
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
    fmt::print(stderr, "memengine: {}\n", shortened(error.what()));
    return 1;
  }
}

}  // namespace memengine
