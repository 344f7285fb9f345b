// Checks and forms of arguments that several commands share.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace memengine {

// A check: a whole number of at least `least`, which the message names.
CLI::Validator at_least(std::int64_t least);

// A check: a number above zero that is no infinity.
CLI::Validator above_zero();

// A transformation: `~` is the home folder, also where no shell expands it (`--out=~/x`).
CLI::Validator home_path();

// CONFIG [a.b=value ...], or as the reference's programs are called, config=FILE among the values
// in any place.
struct ConfigArguments {
  std::string path;
  std::vector<std::string> overrides;
};
std::shared_ptr<ConfigArguments> add_config(CLI::App& command);
// The file and the values apart. Input error where no file is named.
ConfigArguments settled(ConfigArguments arguments, const std::string& command);

}  // namespace memengine
