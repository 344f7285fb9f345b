// The program's command line: all commands with their options, not yet read.
#pragma once

#include <CLI/CLI.hpp>

#include <memory>
#include <span>
#include <string>

namespace memengine {

// Every command and option that there is. Reading arguments with it runs the command they name.
std::unique_ptr<CLI::App> make_program();

// The command that the words call, with a space after each of its words: "memory use "; "" where
// they begin with an option. Input error, with the nearest command, where a word stands in the
// place of one and is none.
std::string called_command(const CLI::App& program, std::span<const std::string> words);

}  // namespace memengine
