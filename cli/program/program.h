// The program's command line: all commands with their options, not yet read.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <string>

namespace memengine {

// Every command and option that there is. Reading arguments with it runs the command they name.
std::unique_ptr<CLI::App> make_program();

// Input error, with the nearest command, where a first word is neither a command nor an option.
void check_command(const CLI::App& program, const std::string& word);

}  // namespace memengine
