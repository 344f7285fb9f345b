// A YAML document as a small tree of our own, with the place each value stands at.
//
// Built from the parser's events rather than its nodes, so that limits on size, depth and count are
// enforced while reading and duplicate keys are seen. An alias becomes a copy of what it names, a
// merge key (`<<: *name`) brings in the keys that its map lacks; copies count towards the limits,
// or nested aliases would make a small file expand without bound. Errors name file and line.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace memengine {

struct YamlEntry;

struct YamlNode {
  enum class Kind { null, scalar, list, map };

  Kind kind = Kind::null;
  std::string text;  // scalar: its characters
  bool quoted =
      false;  // scalar: written in quotes or as a block, so it is text whatever it looks like
  std::string where;                // "file:line", or the override that set it
  std::vector<YamlNode> items;      // list
  std::vector<YamlEntry> children;  // map, in file order, keys unique

  YamlNode* child(std::string_view key);
  const YamlNode* child(std::string_view key) const;
};

struct YamlEntry {
  std::string key;
  YamlNode value;
};

struct YamlLimits {
  std::size_t bytes, nodes, depth;
};

// Parses one document. With `fixed_where` set every node gets it as its place (an override);
// otherwise places are "name:line". An empty document is a null node. Throws input errors.
YamlNode parse_yaml(std::string_view text, const std::string& name, const YamlLimits& limits,
                    const std::string& fixed_where = "");

// Text as a YAML scalar that reads back as the same text (quoted where it must be).
std::string yaml_quote(std::string_view text);

}  // namespace memengine
