// Commands that pages show: words as the shell makes them, and calls of memengine checked by the
// program's own parser, without running anything.
#pragma once

#include <string>
#include <vector>

#include "tests/docs/checker/keys.h"
#include "tests/docs/checker/page.h"
#include "tests/docs/checker/tree.h"

namespace memengine::prose {

// Commands of a line of shell: quotes and backslashes undone, apart at | ; && ||, without comments,
// redirections and what follows a `<<`.
std::vector<std::vector<std::string>> shell_commands(const std::string& line);

// The arguments of a call of memengine, also behind `mpirun -n 2`, `VAR=x` and the like; null where
// the command is none.
const std::string* find_program(const std::vector<std::string>& command);

// `bare`: inline code, which may leave out what a command needs and has metavariables in capitals,
// [optional parts] and `a | b`.
std::string call_complaint(std::vector<std::string> arguments, bool bare, const Keys& keys,
                           const Tree& tree);

// All names of commands ("train", "memory"), and whether some command has an option.
bool is_command(const std::string& word);
std::string option_complaint(const std::string& option);

// `make X`, `cmake --preset X`, `ctest --preset X`: whether X is there. "" for all other commands.
std::string build_tool_complaint(const std::vector<std::string>& command, const Tree& tree);

// Commands of a fenced block, continued lines joined: of a block with `$ ` those lines alone.
std::vector<Span> block_commands(const Block& block);

}  // namespace memengine::prose
