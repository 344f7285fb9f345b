// Values of a study's YAML: variables put in, and the texts that overrides are made of.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "io/config/yaml_tree.h"

namespace memengine {

using StudyVariables = std::map<std::string, std::string>;

// Puts variables in the place of ${name} in every scalar below a node. Input error, with the place:
// no such variable, a "${" without an end.
void put_variables(YamlNode& node, const StudyVariables& variables);

// A value as an override has it, lists in their flow form. Input error for a map that is not in a
// list.
std::string override_text(const YamlNode& node, const std::string& key);

// "key=value" of every entry of a map; none of a node that is not there. Input errors: no map;
// `name` and `dump_dir`, which a study gives.
std::vector<std::string> overrides_of(const YamlNode* node, const std::string& key);

// Input error unless a node is a map with these keys alone.
void check_study_keys(const YamlNode& map, const std::string& what,
                      const std::vector<std::string>& known);

}  // namespace memengine
