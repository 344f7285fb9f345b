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

[[noreturn]] void fail_meant(const std::string& given, const std::string& key,
                             const std::string& variable) {
  fail_input("override {}: the study has no variable '{}'; did you mean '{}'?", given, key,
             variable);
}

// A variable written as a key: as it stands in the file (variables.people), or within a section
// that has nothing of the name. All else is the config's own to judge. `parts`: of known keys.
void check_dotted_name(const std::string& given, const std::string& key,
                       const std::vector<std::string>& names,
                       const std::vector<std::string>& parts) {
  const std::string_view last = last_part(key);
  const auto has = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), last) != list.end();
  };
  if (key.starts_with("variables.")) {
    const std::string variable = nearest_alike(last, names);
    if (!variable.empty()) fail_meant(given, key, variable);
  } else if (has(names) && !has(parts)) {
    fail_meant(given, key, std::string(last));
  }
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
  std::vector<std::string> names, parts;  // of variables; of keys: the first and the last
  for (const auto& [name, value] : variables) names.push_back(name);
  for (const std::string& key : keys) {
    parts.push_back(key.substr(0, key.find('.')));
    parts.emplace_back(last_part(key));
  }
  for (const std::string& given : overrides) {
    const std::size_t equals = given.find('=');
    const std::string key = given.substr(0, equals);
    if (equals == given.npos && variables.contains(key)) {
      fail_input("override {}: give the variable a value: {}=...", given, key);
    }
    if (key.empty() || keys.contains(key) || is_section(keys, key)) continue;
    if (key.find('.') != key.npos) {
      check_dotted_name(given, key, names, parts);
      continue;
    }
    const std::string variable = nearest_alike(key, names), known = nearest_alike(key, parts);
    if (variable.empty() && !known.empty()) continue;
    if (variable.empty()) {
      fail_input(
          "override {}: the study has no variable '{}', no config has such a key, and none is like "
          "it; the variables are {}",
          given, key, fmt::join(names, ", "));
    }
    if (known.empty() || edit_distance(key, variable) <= edit_distance(key, known)) {
      fail_meant(given, key, variable);
    }
  }
}

std::string variable_meant(std::string_view name, const std::vector<std::string>& known) {
  const std::string nearest = nearest_alike(name, known);
  if (!nearest.empty()) return fmt::format("; did you mean '{}'?", nearest);
  return known.empty() ? "" : fmt::format("; there are {}", fmt::join(known, ", "));
}

}  // namespace memengine
