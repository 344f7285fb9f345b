// A command line from its first word to the program's exit code.
#pragma once

namespace memengine {

// Runs the command that `arguments` name (arguments[0] is the program). Whatever goes wrong is told
// in one line on stderr. Returns the exit code: main.cpp lists them.
int run_program(int argument_count, char** arguments);

}  // namespace memengine
