// See config_reader.h. The file becomes a YamlNode tree, overrides are grafted onto it, and each
// bind looks its dotted key up, converts, and appends (key, value as YAML) to the list that dump()
// prints.
#include "io/config/config_reader.h"

#include <fmt/format.h>

#include <algorithm>

#include "io/config/interpolation.h"
#include "io/config/unknown_key.h"
#include "io/config/yaml_tree.h"
#include "io/config/yaml_values.h"
#include "io/files/file.h"
#include "io/files/home.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

using Kind = YamlNode::Kind;

constexpr YamlLimits limits{ConfigReader::max_bytes, ConfigReader::max_nodes,
                            ConfigReader::max_depth};

std::vector<std::string> split_key(std::string_view key) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (std::size_t i = 0; i <= key.size(); ++i) {
    if (i == key.size() || key[i] == '.') {
      parts.emplace_back(key.substr(start, i - start));
      start = i + 1;
    }
  }
  return parts;
}

// Sets root.a.b.c from "a.b.c=value", making maps on the way.
void apply_override(YamlNode& root, const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    fail_input("override '{}': write key=value, for instance optim.lr=3e-4", one_line(text));
  }
  const std::string place = "override " + one_line(text);
  const auto parts = split_key(std::string_view(text).substr(0, equals));
  YamlNode value = parse_yaml(std::string_view(text).substr(equals + 1), place, limits, place);
  if (value.where.empty()) value.where = place;
  if (parts.size() > ConfigReader::max_depth) fail_input("{}: too many parts in the key", place);
  YamlNode* node = &root;
  for (const std::string& part : parts) {
    if (part.empty()) fail_input("{}: the key has an empty part", place);
    if (node->kind == Kind::null) {
      node->kind = Kind::map;
      node->where = place;
    }
    if (node->kind != Kind::map) {
      fail_input("{}: the config's value before '.{}' is {} ({}), not a map", place, one_line(part),
                 yaml_shown(*node), node->where);
    }
    if (YamlNode* child = node->child(part)) {
      node = child;
    } else {
      node = &node->children.emplace_back(YamlEntry{std::string(part), {}}).value;
    }
  }
  *node = std::move(value);
}

// Text as YAML that reads back as the same text, interpolation included.
std::string recorded(std::string text) {
  for (std::size_t at = 0; (at = text.find("${", at)) != std::string::npos; at += 3) {
    text.insert(at, 1, '\\');
  }
  return yaml_quote(text);
}

}  // namespace

struct ConfigReader::Impl {
  std::string name = "config";
  YamlNode root;
  KeySet known;                                              // bound or accepted keys
  KeySet ignored;                                            // keys whose whole subtree is accepted
  std::vector<std::pair<std::string, std::string>> records;  // (key, value as YAML) for dump()
  std::vector<std::string> notices;

  // The node at a dotted key whose parts may end in [i]; null when absent. Fails where a part on
  // the way is neither a map nor null.
  const YamlNode* find(std::string_view key) const {
    const YamlNode* node = &root;
    for (const std::string& part : split_key(key)) {
      std::string_view name = part;
      std::optional<std::size_t> index;
      if (const std::size_t bracket = part.find('['); bracket != std::string::npos) {
        name = name.substr(0, bracket);
        index = std::strtoull(part.c_str() + bracket + 1, nullptr, 10);
      }
      if (node->kind == Kind::null) return nullptr;
      if (node->kind != Kind::map) {
        fail_input("{}: expected a map of keys such as '{}', not {}", node->where, part,
                   yaml_shown(*node));
      }
      node = node->child(name);
      if (node && index) {
        node = node->kind == Kind::list && *index < node->items.size() ? &node->items[*index]
                                                                       : nullptr;
      }
      if (!node) return nullptr;
    }
    return node;
  }

  const YamlNode* take(std::string_view key) {
    known.emplace(key);
    return find(key);
  }

  void record(std::string_view key, std::string value) {
    records.emplace_back(key, std::move(value));
  }

  void check_known(const YamlNode& node, const std::string& key) const {
    if (!key.empty() && (ignored.contains(key) || known.contains(key))) {
      if (ignored.contains(key) || node.kind != Kind::list) return;
    }
    if (node.kind == Kind::map && !(node.children.empty() && !key.empty() && !is_section(key))) {
      for (const auto& [name, child] : node.children) {
        check_known(child, key.empty() ? name : key + "." + name);
      }
    } else if (node.kind == Kind::list && known.contains(key)) {
      for (std::size_t i = 0; i < node.items.size(); ++i) {
        if (node.items[i].kind == Kind::map) {
          check_known(node.items[i], key + "[" + std::to_string(i) + "]");
        }
      }
    } else if (!(node.kind == Kind::null && is_section(key))) {
      fail_unknown_key(node.where, key, known, ignored);
    }
  }

  bool is_section(const std::string& key) const { return memengine::is_section(known, key); }
};

ConfigReader::ConfigReader() : impl_(std::make_unique<Impl>()) {}
ConfigReader::~ConfigReader() = default;
ConfigReader::ConfigReader(ConfigReader&&) noexcept = default;
ConfigReader& ConfigReader::operator=(ConfigReader&&) noexcept = default;

ConfigReader ConfigReader::from_file(const std::string& path,
                                     std::span<const std::string> overrides,
                                     std::string_view defaults) {
  std::string text;
  try {
    text = read_text_file(path, max_bytes);
  } catch (const Error& error) {
    fail_input("{}; give the path of a YAML file (see configs/)", error.what());
  }
  return from_text(text, path, overrides, defaults);
}

ConfigReader ConfigReader::from_text(std::string_view yaml, const std::string& name,
                                     std::span<const std::string> overrides,
                                     std::string_view defaults) {
  ConfigReader reader;
  reader.impl_->name = name;
  reader.impl_->root = parse_yaml(yaml, name, limits);
  YamlNode& root = reader.impl_->root;
  if (root.kind != Kind::map && root.kind != Kind::null) {
    fail_input("{}: a config is a map of `key: value` lines, not {}", root.where, yaml_shown(root));
  }
  for (const std::string& text : overrides) apply_override(root, text);
  interpolate(root, parse_yaml(defaults, "defaults", limits), limits);
  return reader;
}

void ConfigReader::bind(std::string_view key, bool& field) {
  if (const YamlNode* node = impl_->take(key)) field = yaml_bool(*node, key);
  impl_->record(key, field ? "true" : "false");
}

void ConfigReader::bind(std::string_view key, std::int64_t& field) {
  if (const YamlNode* node = impl_->take(key)) field = yaml_integer(*node, key);
  impl_->record(key, fmt::format("{}", field));
}

void ConfigReader::bind(std::string_view key, double& field) {
  if (const YamlNode* node = impl_->take(key)) field = yaml_number(*node, key);
  impl_->record(key, fmt::format("{}", field));
}

void ConfigReader::bind(std::string_view key, std::string& field) {
  if (const YamlNode* node = impl_->take(key)) field = yaml_text(*node, key);
  impl_->record(key, recorded(field));
}

void ConfigReader::bind_path(std::string_view key, std::string& field) {
  if (const YamlNode* node = impl_->take(key)) {
    const std::string path = yaml_text(*node, key);
    try {
      field = expand_home(path);
    } catch (const Error& error) {
      fail_input("{}: {}: {}", node->where, key, error.what());
    }
  }
  impl_->record(key, recorded(field));
}

void ConfigReader::bind_path(std::string_view key, std::optional<std::string>& field) {
  if (is_null(key) || (!has(key) && !field)) {
    field.reset();
    record_null(key);
    return;
  }
  std::string path = field.value_or("");
  bind_path(key, path);
  field = std::move(path);
}

void ConfigReader::bind(std::string_view key, std::vector<std::string>& field) {
  if (const YamlNode* node = impl_->take(key)) {
    field.clear();
    if (node->kind != Kind::list && node->kind != Kind::null) fail_yaml_type(*node, key, "a list");
    for (const YamlNode& item : node->items) field.push_back(yaml_text(item, key));
  }
  std::string text = "[";
  for (std::size_t i = 0; i < field.size(); ++i) text += (i ? ", " : "") + recorded(field[i]);
  impl_->record(key, text + "]");
}

void ConfigReader::bind(std::string_view key, std::map<std::string, double>& field) {
  if (const YamlNode* node = impl_->take(key)) {
    field.clear();
    if (node->kind != Kind::map && node->kind != Kind::null) {
      fail_yaml_type(*node, key, "a map from name to number");
    }
    for (const auto& [name, value] : node->children) {
      field[name] = yaml_number(value, fmt::format("{}.{}", key, name));
    }
  }
  std::string text = "{";
  for (const auto& [name, value] : field) {
    text += fmt::format("{}{}: {}", text.size() > 1 ? ", " : "", yaml_quote(name), value);
  }
  impl_->record(key, text + "}");
}

std::string ConfigReader::bind_name(std::string_view key, std::string_view current,
                                    std::span<const std::string_view> names) {
  std::string chosen(current);
  if (const YamlNode* node = impl_->take(key)) {
    // A word such as `none` or `off` stands for itself here, whatever YAML thinks of it.
    chosen = node->text;
    if (node->kind != Kind::scalar ||
        std::find(names.begin(), names.end(), chosen) == names.end()) {
      std::string list;
      for (const auto& name : names) list += (list.empty() ? "" : ", ") + std::string(name);
      fail_yaml_type(*node, key, "one of " + list);
    }
  }
  impl_->record(key, yaml_quote(chosen));
  return chosen;
}

std::optional<std::size_t> ConfigReader::list_size(std::string_view key,
                                                   std::string_view scalar_key) {
  impl_->known.emplace(key);
  // Rewriting `x` as `{scalar_key: x}` needs the node itself; the tree is this reader's own.
  YamlNode* node = const_cast<YamlNode*>(impl_->find(key));
  if (!node) return std::nullopt;
  if (node->kind == Kind::null) return 0;
  if (node->kind != Kind::list) fail_yaml_type(*node, key, "a list");
  for (YamlNode& item : node->items) {
    if (item.kind == Kind::scalar) {
      YamlNode map;
      map.kind = Kind::map;
      map.where = item.where;
      map.children.push_back({std::string(scalar_key), std::move(item)});
      item = std::move(map);
    } else if (item.kind != Kind::map) {
      fail_yaml_type(item, key, "a list of names or maps");
    }
  }
  return node->items.size();
}

std::size_t ConfigReader::mark_records() const {
  return impl_->records.size();
}

std::string ConfigReader::fold_item(std::size_t mark, std::string_view item_path) {
  std::string text = "{";
  for (std::size_t i = mark; i < impl_->records.size(); ++i) {
    const auto& [key, value] = impl_->records[i];
    text += fmt::format("{}{}: {}", i > mark ? ", " : "", key.substr(item_path.size() + 1), value);
  }
  impl_->records.resize(mark);
  return text + "}";
}

void ConfigReader::record_list(std::string_view key, const std::vector<std::string>& items) {
  std::string text = "[";
  for (std::size_t i = 0; i < items.size(); ++i) text += (i ? ", " : "") + items[i];
  impl_->record(key, text + "]");
}

void ConfigReader::ignore(std::string_view key, std::string_view why) {
  impl_->ignored.emplace(key);
  const YamlNode* node = impl_->find(key);
  if (node && node->kind != Kind::null) {
    impl_->notices.push_back(fmt::format("{}: {} has no effect here: {}", node->where, key, why));
  }
}

void ConfigReader::require(std::string_view key, std::span<const std::string_view> allowed,
                           std::string_view why) {
  impl_->known.emplace(key);
  const YamlNode* node = impl_->find(key);
  if (!node || node->kind == Kind::null) return;
  if (node->kind != Kind::scalar ||
      std::find(allowed.begin(), allowed.end(), node->text) == allowed.end()) {
    fail_input("{}: {}={} cannot be done by this build: {}", node->where, key,
               node->kind == Kind::scalar ? one_line(node->text, 60) : yaml_shown(*node), why);
  }
}

bool ConfigReader::has(std::string_view key) const {
  return impl_->find(key) != nullptr;
}

std::string ConfigReader::text(std::string_view key) const {
  const YamlNode* node = impl_->find(key);
  return node && node->kind == Kind::scalar ? node->text : "";
}

bool ConfigReader::is_null(std::string_view key) const {
  const YamlNode* node = impl_->find(key);
  return node && node->kind == Kind::null;
}

void ConfigReader::record_null(std::string_view key) {
  impl_->known.emplace(key);
  impl_->record(key, "null");
}

std::string ConfigReader::where(std::string_view key) const {
  const YamlNode* node = impl_->find(key);
  return node ? node->where : impl_->name;
}

const std::vector<std::string>& ConfigReader::notices() const {
  return impl_->notices;
}

void ConfigReader::finish() const {
  if (impl_->root.kind == Kind::map) impl_->check_known(impl_->root, "");
}

const std::vector<std::pair<std::string, std::string>>& ConfigReader::values() const {
  return impl_->records;
}

std::vector<std::string> ConfigReader::keys() const {
  KeySet all = impl_->known;
  all.insert(impl_->ignored.begin(), impl_->ignored.end());
  return {all.begin(), all.end()};
}

std::string ConfigReader::dump() const {
  std::string out;
  std::vector<std::string> open;  // sections whose heads are printed
  for (const auto& [key, value] : impl_->records) {
    const auto parts = split_key(key);
    std::size_t same = 0;
    while (same < open.size() && same + 1 < parts.size() && open[same] == parts[same]) ++same;
    open.resize(same);
    for (; same + 1 < parts.size(); ++same) {
      out += std::string(2 * same, ' ') + parts[same] + ":\n";
      open.push_back(parts[same]);
    }
    out += fmt::format("{}{}: {}\n", std::string(2 * same, ' '), parts.back(), value);
  }
  return out;
}

}  // namespace memengine
