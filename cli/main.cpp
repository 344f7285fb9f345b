// The program: reads the command line and turns errors into one line and an exit code.
//
//   0  done      2  the user's input is wrong      1  anything else
#include <fmt/core.h>

#include <exception>
#include <new>

#include "cli/command.h"
#include "engine/runtime/error.h"

int main(int argument_count, char** arguments) {
  CLI::App program(
      "memengine trains and evaluates transformers with product-key memory layers whose value "
      "table lives in host memory.",
      "memengine");
  program.set_version_flag("--version", "memengine " MEMENGINE_VERSION);
  program.require_subcommand(1);
  memengine::add_prepare_command(program);
  memengine::add_train_command(program);
  memengine::add_inspect_command(program);
  memengine::add_synth_command(program);

  try {
    program.parse(argument_count, arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    // CLI11 prints help and usage errors itself; all its errors are the user's.
    return program.exit(error) == 0 ? 0 : 2;
  } catch (const memengine::Error& error) {
    fmt::print(stderr, "memengine: {}\n", error.what());
    return error.kind() == memengine::Error::Kind::input ? 2 : 1;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "memengine: out of host memory\n");
    return 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "memengine: {}\n", error.what());
    return 1;
  }
}
