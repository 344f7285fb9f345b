#include "engine/study/study_variables.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <set>

#include "engine/config/config_keys.h"
#include "io/config/unknown_key.h"
#include "io/config/yaml_values.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Names = std::set<std::string>;

void collect_uses(const YamlNode& node, Names& used) {
  std::size_t at = 0;
  for (std::size_t begin; (begin = node.text.find("${", at)) != node.text.npos;) {
    const std::size_t end = node.text.find('}', begin);
    if (end == node.text.npos) break;  // put_variables says so
    used.insert(node.text.substr(begin + 2, end - begin - 2));
    at = end + 1;
  }
  for (const YamlNode& item : node.items) collect_uses(item, used);
  for (const YamlEntry& entry : node.children) collect_uses(entry.value, used);
}

void check_used(const YamlNode* map, const std::string& what, const Names& used) {
  if (map == nullptr || map->kind != YamlNode::Kind::map) return;
  for (const YamlEntry& entry : map->children) {
    if (used.contains(entry.key)) continue;
    fail_input("{}: {}.{}: nothing in the study uses ${{{}}}{}", entry.value.where, what, entry.key,
               entry.key, variable_meant(entry.key, {used.begin(), used.end()}));
  }
}

// The nearest of the names that are alike; "" without one.
std::string nearest_alike(std::string_view name, const std::vector<std::string>& known) {
  std::string nearest;
  for (const std::string& each : known) {
    if (!is_alike(name, each)) continue;
    if (nearest.empty() || edit_distance(name, each) < edit_distance(name, nearest)) nearest = each;
  }
  return nearest;
}

}  // namespace

StudyVariables settle_variables(const YamlNode* node, std::vector<std::string>& overrides) {
  StudyVariables variables;
  if (node != nullptr && node->kind != YamlNode::Kind::null) {
    if (node->kind != YamlNode::Kind::map) {
      fail_yaml_type(*node, "variables", "a map of names and values");
    }
    for (const YamlEntry& entry : node->children) {
      if (entry.key == "out") {
        fail_input("{}: variables.out: ${{out}} is the study's folder", entry.value.where);
      }
      variables[entry.key] = yaml_text(entry.value, "variables." + entry.key);
    }
  }
  std::erase_if(overrides, [&](const std::string& given) {
    const std::size_t equals = given.find('=');
    const auto variable = variables.find(given.substr(0, equals));
    if (equals == given.npos || variable == variables.end()) return false;
    variable->second = given.substr(equals + 1);
    return true;
  });
  return variables;
}

void check_variables_are_used(const YamlNode& tree) {
  Names used;
  collect_uses(tree, used);
  check_used(tree.child("variables"), "variables", used);
  const YamlNode* small = tree.child("small");
  if (small != nullptr) check_used(small->child("variables"), "small.variables", used);
}

void check_override_names(const std::vector<std::string>& overrides,
                          const StudyVariables& variables) {
  const std::vector<std::string> list = run_config_keys();
  const KeySet keys(list.begin(), list.end());
  std::vector<std::string> names;
  for (const auto& [name, value] : variables) names.push_back(name);
  if (names.empty()) return;
  for (const std::string& given : overrides) {
    const std::string key = given.substr(0, given.find('='));
    // Keys within a section are the config's own to judge.
    if (key.empty() || key.find('.') != key.npos || keys.contains(key) || is_section(keys, key)) {
      continue;
    }
    std::vector<std::string> top;
    for (const std::string& each : keys) top.push_back(each.substr(0, each.find('.')));
    const std::string variable = nearest_alike(key, names), known = nearest_alike(key, top);
    if (variable.empty() && !known.empty()) continue;
    if (variable.empty()) {
      fail_input(
          "override {}: the study has no variable '{}', no config has such a key, and none is like "
          "it; the variables are {}",
          given, key, fmt::join(names, ", "));
    }
    if (known.empty() || edit_distance(key, variable) <= edit_distance(key, known)) {
      fail_input("override {}: the study has no variable '{}'; did you mean '{}'?", given, key,
                 variable);
    }
  }
}

std::string variable_meant(std::string_view name, const std::vector<std::string>& known) {
  const std::string nearest = nearest_alike(name, known);
  if (!nearest.empty()) return fmt::format("; did you mean '{}'?", nearest);
  return known.empty() ? "" : fmt::format("; there are {}", fmt::join(known, ", "));
}

}  // namespace memengine
