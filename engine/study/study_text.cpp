#include "engine/study/study_text.h"

#include <algorithm>
#include <string_view>

#include "engine/study/study_variables.h"
#include "io/config/config_reader.h"
#include "io/config/yaml_values.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

std::string with_variables(const YamlNode& node, const StudyVariables& variables) {
  const std::string& text = node.text;
  std::string result;
  std::size_t at = 0;
  for (std::size_t begin; (begin = text.find("${", at)) != text.npos;) {
    const std::size_t end = text.find('}', begin);
    if (end == text.npos) fail_input("{}: '{}' has a \"${{\" without a \"}}\"", node.where, text);
    const std::string name = text.substr(begin + 2, end - begin - 2);
    const auto variable = variables.find(name);
    if (variable == variables.end()) {
      std::vector<std::string> known;
      for (const auto& [each, value] : variables) known.push_back(each);
      fail_input("{}: no variable '{}'{}", node.where, name, variable_meant(name, known));
    }
    result += text.substr(at, begin - at) + variable->second;
    at = end + 1;
  }
  return result + text.substr(at);
}

bool is_one_of(char c, std::string_view characters) {
  return characters.find(c) != characters.npos;
}

// Plain text stays plain, so that a number stays one, unless it would mean more in a list or map.
std::string scalar_text(const YamlNode& node, bool in_flow) {
  const bool special = in_flow && std::any_of(node.text.begin(), node.text.end(),
                                              [](char c) { return is_one_of(c, ",[]{}:#"); });
  return node.quoted || special ? yaml_quote(node.text) : node.text;
}

std::string flow_text(const YamlNode& node) {
  std::string text;
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "null";
    case YamlNode::Kind::scalar:
      return scalar_text(node, true);
    case YamlNode::Kind::list:
      for (const YamlNode& item : node.items) text += (text.empty() ? "" : ", ") + flow_text(item);
      return "[" + text + "]";
    case YamlNode::Kind::map:
      for (const YamlEntry& entry : node.children) {
        text += (text.empty() ? "" : ", ") + yaml_quote(entry.key) + ": " + flow_text(entry.value);
      }
      return "{" + text + "}";
  }
  fail_internal("a YAML node of an unknown kind");
}

}  // namespace

void put_variables(YamlNode& node, const StudyVariables& variables) {
  if (node.kind == YamlNode::Kind::scalar && node.text.find("${") != node.text.npos) {
    node.text = with_variables(node, variables);
    // A path is text whatever it holds; a number stays one.
    const bool plain = std::all_of(node.text.begin(), node.text.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || is_one_of(static_cast<char>(c), "._/+-");
    });
    node.quoted = node.quoted || !plain;
  }
  for (YamlNode& item : node.items) put_variables(item, variables);
  for (YamlEntry& entry : node.children) put_variables(entry.value, variables);
}

std::string override_text(const YamlNode& node, const std::string& key) {
  if (node.kind == YamlNode::Kind::map) {
    fail_yaml_type(node, key, "a value or a list; write the keys below it with dots");
  }
  return node.kind == YamlNode::Kind::scalar ? scalar_text(node, false) : flow_text(node);
}

std::vector<std::string> overrides_of(const YamlNode* node, const std::string& key) {
  std::vector<std::string> overrides;
  if (node == nullptr || node->kind == YamlNode::Kind::null) return overrides;
  if (node->kind != YamlNode::Kind::map) fail_yaml_type(*node, key, "a map of keys and values");
  for (const YamlEntry& entry : node->children) {
    if (entry.key == "name" || entry.key == "dump_dir") {
      fail_input("{}: {}.{}: the study gives every run its name and folder", entry.value.where, key,
                 entry.key);
    }
    overrides.push_back(entry.key + "=" + override_text(entry.value, key + "." + entry.key));
  }
  return overrides;
}

void check_study_keys(const YamlNode& map, const std::string& what,
                      const std::vector<std::string>& known) {
  if (map.kind != YamlNode::Kind::map) fail_yaml_type(map, what, "a map");
  for (const YamlEntry& entry : map.children) {
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    const auto nearest =
        std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
          return edit_distance(entry.key, a) < edit_distance(entry.key, b);
        });
    fail_input("{}: unknown key '{}' in {}; the nearest is '{}'", entry.value.where, entry.key,
               what, *nearest);
  }
}

}  // namespace memengine
