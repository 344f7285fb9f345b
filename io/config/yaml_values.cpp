// See yaml_values.h.
#include "io/config/yaml_values.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

#include "io/text/ascii.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Kind = YamlNode::Kind;

// 1_000_000 and 100_000.5 are YAML's own spelling: underscores between digits mean nothing.
std::string without_underscores(std::string_view text) {
  std::string kept;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool separates = text[i] == '_' && i > 0 && i + 1 < text.size() &&
                           is_digit(text[i - 1]) && is_digit(text[i + 1]);
    if (!separates) kept += text[i];
  }
  return kept;
}

// Of text without underscores.
std::optional<double> to_double(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) return {};
  return value;
}

}  // namespace

std::string yaml_shown(const YamlNode& node) {
  switch (node.kind) {
    case Kind::null:
      return "nothing (null)";
    case Kind::list:
      return "a list";
    case Kind::map:
      return "a map";
    case Kind::scalar:
      break;
  }
  return "'" + one_line(node.text, 60) + "'" + (node.text.size() > 60 ? "..." : "");
}

void fail_yaml_type(const YamlNode& node, std::string_view key, std::string_view expected) {
  // {novels:1} is a map whose key is "novels:1".
  const bool glued = node.kind == Kind::null && key.find(':') != std::string_view::npos;
  fail_input("{}: {} must be {}, not {}{}", node.where, key, expected, yaml_shown(node),
             glued ? "; YAML wants a space after the colon" : "");
}

bool yaml_bool(const YamlNode& node, std::string_view key) {
  if (node.kind == Kind::scalar && !node.quoted) {
    for (const std::string_view word : {"true", "True", "TRUE", "yes", "on"}) {
      if (node.text == word) return true;
    }
    for (const std::string_view word : {"false", "False", "FALSE", "no", "off"}) {
      if (node.text == word) return false;
    }
  }
  fail_yaml_type(node, key, "true or false");
}

double yaml_number(const YamlNode& node, std::string_view key) {
  if (node.kind == Kind::scalar) {
    if (const auto value = to_double(without_underscores(node.text))) return *value;
  }
  fail_yaml_type(node, key, "a finite number");
}

std::int64_t yaml_integer(const YamlNode& node, std::string_view key) {
  if (node.kind == Kind::scalar) {
    const std::string digits = without_underscores(node.text);
    std::string_view text = digits;
    if (text.starts_with('+')) text.remove_prefix(1);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error == std::errc() && end == text.data() + text.size()) return value;
    const auto real = to_double(text);
    if (real && std::abs(*real) < 9e15 && *real == std::floor(*real)) {
      return static_cast<std::int64_t>(*real);
    }
  }
  fail_yaml_type(node, key, "a whole number");
}

std::string yaml_text(const YamlNode& node, std::string_view key) {
  if (node.kind != Kind::scalar) fail_yaml_type(node, key, "text");
  return node.text;
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string_view last_part(std::string_view key) {
  const std::size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

}  // namespace memengine
