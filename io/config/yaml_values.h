// YAML scalars as values, and the words of the errors about them.
//
// Each conversion takes the node and the dotted key it stands for; a node of another type is an
// input error "<file:line>: <key> must be <expected>, not <found>".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/config/yaml_tree.h"

namespace memengine {

bool yaml_bool(const YamlNode& node, std::string_view key);
// Finite; quotes and underscores between digits allowed.
double yaml_number(const YamlNode& node, std::string_view key);
// As a number, and whole: 1_000, 128e3.
std::int64_t yaml_integer(const YamlNode& node, std::string_view key);
// Any scalar, as its characters.
std::string yaml_text(const YamlNode& node, std::string_view key);

// The node in a few words for a message: 'its text', "a list", ...
std::string yaml_shown(const YamlNode& node);
[[noreturn]] void fail_yaml_type(const YamlNode& node, std::string_view key,
                                 std::string_view expected);

// Levenshtein distance, for naming the known key nearest to an unknown one.
std::size_t edit_distance(std::string_view a, std::string_view b);
// The part of a dotted key after its last dot.
std::string_view last_part(std::string_view key);

}  // namespace memengine
