// A study's YAML: variants x grid x seeds.
#include <algorithm>
#include <set>

#include "engine/config/config.h"
#include "engine/study/study.h"
#include "io/config/config_reader.h"
#include "io/config/yaml_tree.h"
#include "io/config/yaml_values.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_runs = 10'000;

struct Variant {
  std::string name;
  std::vector<std::string> overrides;
};

// A value as an override has it. Lists in their flow form.
std::string value_text(const YamlNode& node, const std::string& key) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "null";
    case YamlNode::Kind::scalar:
      return node.quoted ? yaml_quote(node.text) : node.text;
    case YamlNode::Kind::list: {
      std::string text = "[";
      for (const YamlNode& item : node.items) {
        text += (text.size() > 1 ? ", " : "") + value_text(item, key);
      }
      return text + "]";
    }
    case YamlNode::Kind::map:
      break;
  }
  fail_yaml_type(node, key, "a value or a list; write the keys below it with dots");
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
    overrides.push_back(entry.key + "=" + value_text(entry.value, key + "." + entry.key));
  }
  return overrides;
}

void check_keys(const YamlNode& map, const std::string& what,
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

std::string safe_name(const std::string& name) {
  std::string safe;
  for (const char c : name) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("._=,+-").find(c) != std::string_view::npos;
    safe += plain ? c : '_';
  }
  if (!safe.empty() && safe[0] == '.') safe[0] = '_';
  return safe.substr(0, 180);
}

std::vector<Variant> listed(const YamlNode* node) {
  if (node == nullptr || node->kind == YamlNode::Kind::null) return {{}};
  if (node->kind != YamlNode::Kind::list) fail_yaml_type(*node, "runs", "a list");
  std::vector<Variant> variants;
  for (const YamlNode& item : node->items) {
    check_keys(item, "runs", {"name", "set"});
    const YamlNode* name = item.child("name");
    if (name == nullptr) fail_input("{}: a run of `runs` has no name", item.where);
    variants.push_back({yaml_text(*name, "runs.name"), overrides_of(item.child("set"), "set")});
  }
  return variants;
}

// Every variant with every value of a key.
std::vector<Variant> crossed(const std::vector<Variant>& variants, const YamlEntry& axis) {
  const std::string key = "grid." + axis.key;
  if (axis.value.kind != YamlNode::Kind::list || axis.value.items.empty()) {
    fail_yaml_type(axis.value, key, "a list of values");
  }
  if (variants.size() * axis.value.items.size() > max_runs) {
    fail_input("{}: the grid makes more than {} runs", axis.value.where, max_runs);
  }
  std::vector<Variant> result;
  for (const Variant& variant : variants) {
    for (const YamlNode& value : axis.value.items) {
      Variant each = variant;
      const std::string text = value_text(value, key);
      each.overrides.push_back(axis.key + "=" + text);
      each.name += (each.name.empty() ? "" : "-") + std::string(last_part(axis.key)) + "=" + text;
      result.push_back(std::move(each));
    }
  }
  return result;
}

}  // namespace

Study load_study(const fs::path& path, const fs::path& out) {
  const YamlNode tree =
      parse_yaml(read_text_file(path, ConfigReader::max_bytes), path.string(),
                 {ConfigReader::max_bytes, ConfigReader::max_nodes, ConfigReader::max_depth});
  check_keys(tree, "a study", {"base", "out", "set", "runs", "grid", "seeds"});
  Study study;
  const YamlNode* base = tree.child("base");
  if (base == nullptr) {
    fail_input("{}: base is missing: the config that the study starts from", path.string());
  }
  study.base = yaml_text(*base, "base");
  if (!is_there(study.base)) study.base = path.parent_path() / study.base;
  if (!is_there(study.base)) {
    fail_input("{}: base: there is no {}", base->where, yaml_text(*base, "base"));
  }
  study.out = out;
  if (out.empty()) {
    const YamlNode* folder = tree.child("out");
    if (folder == nullptr) fail_input("{}: out is missing: the study's folder", path.string());
    study.out = yaml_text(*folder, "out");
  }

  std::vector<Variant> variants = listed(tree.child("runs"));
  if (const YamlNode* grid = tree.child("grid")) {
    if (grid->kind != YamlNode::Kind::map) fail_yaml_type(*grid, "grid", "a map of lists");
    for (const YamlEntry& axis : grid->children) variants = crossed(variants, axis);
  }
  if (const YamlNode* seeds = tree.child("seeds")) {
    std::vector<Variant> seeded = crossed(variants, {"seed", *seeds});
    for (std::size_t i = 0; i < seeded.size(); ++i) {
      const std::string seed = seeded[i].overrides.back().substr(5);
      const std::string& name = variants[i / seeds->items.size()].name;
      seeded[i].name = (name.empty() ? "" : name + "-") + "seed" + seed;
    }
    variants = std::move(seeded);
  }
  const std::vector<std::string> common = overrides_of(tree.child("set"), "set");
  std::set<std::string> names;
  for (const Variant& variant : variants) {
    StudyRun run;
    run.name = safe_name(variant.name.empty() ? study.base.stem().string() : variant.name);
    run.overrides = common;
    run.overrides.insert(run.overrides.end(), variant.overrides.begin(), variant.overrides.end());
    if (!names.insert(run.name).second) {
      fail_input("{}: two runs are named '{}'; give them other names", path.string(), run.name);
    }
    std::vector<std::string> all = run.overrides;
    all.push_back("name=" + yaml_quote(run.name));
    all.push_back("dump_dir=" + yaml_quote((study.out / "runs" / run.name).string()));
    run.overrides = all;
    run.config = dump_config(load_run_config(study.base.string(), all));
    study.runs.push_back(std::move(run));
  }
  return study;
}

}  // namespace memengine
