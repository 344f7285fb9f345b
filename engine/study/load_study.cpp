// A study's YAML: variants x grid x seeds.
#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "engine/config/config.h"
#include "engine/config/file_kind.h"
#include "engine/study/study.h"
#include "engine/study/study_text.h"
#include "engine/study/study_variables.h"
#include "io/config/config_reader.h"
#include "io/config/yaml_tree.h"
#include "io/config/yaml_values.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/text/ascii.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t max_runs = 10'000;

struct Variant {
  std::string name;
  std::vector<std::string> overrides;
};

std::string safe_name(const std::string& name) {
  std::string safe;
  for (const char c : name) {
    const bool plain =
        is_letter(c) || is_digit(c) || std::string_view("._=,+-").find(c) != std::string_view::npos;
    safe += plain ? c : '_';
  }
  if (!safe.empty() && safe[0] == '.') safe[0] = '_';
  return safe.substr(0, 180);
}

std::vector<Variant> listed(const YamlNode* node) {
  if (node == nullptr || node->kind == YamlNode::Kind::null) return {{}};
  if (node->kind != YamlNode::Kind::list || node->items.empty()) {
    fail_yaml_type(*node, "runs", "a list of variants");
  }
  std::vector<Variant> variants;
  for (const YamlNode& item : node->items) {
    check_study_keys(item, "runs", {"name", "set"});
    const YamlNode* name = item.child("name");
    if (name == nullptr) fail_input("{}: a run of `runs` has no name", item.where);
    variants.push_back({yaml_text(*name, "runs.name"), overrides_of(item.child("set"), "set")});
  }
  return variants;
}

// Every variant with every value of a key.
std::vector<Variant> crossed(const std::vector<Variant>& variants, const YamlEntry& axis) {
  const std::string key = axis.key == "seed" ? "seeds" : "grid." + axis.key;
  if (axis.value.kind == YamlNode::Kind::list && axis.value.items.empty()) {
    fail_input("{}: {} is an empty list: give it values or leave it out", axis.value.where, key);
  }
  if (axis.value.kind != YamlNode::Kind::list) {
    fail_yaml_type(axis.value, key, "a list of values");
  }
  if (variants.size() * axis.value.items.size() > max_runs) {
    fail_input("{}: the grid makes more than {} runs", axis.value.where, max_runs);
  }
  std::vector<Variant> result;
  for (const Variant& variant : variants) {
    for (const YamlNode& value : axis.value.items) {
      Variant each = variant;
      const std::string text = override_text(value, key);
      each.overrides.push_back(axis.key + "=" + text);
      each.name += (each.name.empty() ? "" : "-") + std::string(last_part(axis.key)) + "=" + text;
      result.push_back(std::move(each));
    }
  }
  return result;
}

// `small` in place of what it names.
void apply_small(YamlNode& tree, const std::string& file) {
  YamlNode* found = tree.child("small");
  if (found == nullptr) fail_input("{}: it has no small form (`small:`)", file);
  const YamlNode small = *found;
  check_study_keys(small, "small",
                   {"out", "base", "variables", "prepare", "set", "runs", "grid", "seeds"});
  const bool names_out = small.child("out") != nullptr;
  for (const YamlEntry& entry : small.children) {
    YamlNode* before = tree.child(entry.key);
    const bool by_key = entry.key == "set" || entry.key == "variables";
    if (before == nullptr) {
      tree.children.push_back(entry);
    } else if (!by_key || before->kind != YamlNode::Kind::map) {
      *before = entry.value;
    } else {
      for (const YamlEntry& each : entry.value.children) {
        YamlNode* old = before->child(each.key);
        if (old == nullptr) {
          before->children.push_back(each);
        } else {
          *old = each.value;
        }
      }
    }
  }
  if (YamlNode* out = tree.child("out"); out != nullptr && !names_out) out->text += "_small";
}

// A command is a text, whose words are parted by spaces, or a list of words.
std::vector<std::vector<std::string>> commands_of(const YamlNode* node) {
  if (node == nullptr || node->kind == YamlNode::Kind::null) return {};
  if (node->kind != YamlNode::Kind::list) fail_yaml_type(*node, "prepare", "a list of commands");
  std::vector<std::vector<std::string>> commands;
  for (const YamlNode& item : node->items) {
    std::vector<std::string>& words = commands.emplace_back();
    if (item.kind == YamlNode::Kind::list) {
      for (const YamlNode& word : item.items) words.push_back(yaml_text(word, "prepare"));
    } else {
      std::istringstream text(yaml_text(item, "prepare"));
      for (std::string word; text >> word;) words.push_back(word);
    }
    if (!words.empty() && words.front() == "memengine") words.erase(words.begin());
    if (words.empty()) fail_input("{}: prepare: an empty command", item.where);
  }
  return commands;
}

void check_override(const std::string& given, bool has_seeds) {
  const std::string key = given.substr(0, given.find('='));
  if (key == "name" || key == "dump_dir" || (key == "seed" && has_seeds)) {
    fail_input("{}: the study sets {} of every run itself", given, key);
  }
}

}  // namespace

Study load_study(const fs::path& path, const StudyChanges& changes) {
  YamlNode tree =
      parse_yaml(read_text_file(path, ConfigReader::max_bytes), path.string(),
                 {ConfigReader::max_bytes, ConfigReader::max_nodes, ConfigReader::max_depth});
  refuse_other_kind(tree, path.string(), FileKind::study);
  check_study_keys(
      tree, "a study",
      {"base", "out", "variables", "prepare", "set", "runs", "grid", "seeds", "small"});
  check_variables_are_used(tree);
  if (changes.small) apply_small(tree, path.string());
  std::erase_if(tree.children, [](const YamlEntry& entry) { return entry.key == "small"; });
  Study study;
  std::vector<std::string> overrides = changes.overrides;
  study.variables = settle_variables(tree.child("variables"), overrides);
  study.out = changes.out;
  YamlNode* folder = tree.child("out");
  if (study.out.empty()) {
    if (folder == nullptr) fail_input("{}: out is missing: the study's folder", path.string());
    put_variables(*folder, study.variables);
    study.out = yaml_text(*folder, "out");
  }
  study.variables["out"] = study.out.string();
  std::erase_if(tree.children, [](const YamlEntry& entry) { return entry.key == "variables"; });
  put_variables(tree, study.variables);

  study.base = changes.base;
  if (study.base.empty()) {
    const YamlNode* base = tree.child("base");
    if (base == nullptr) {
      fail_input("{}: base is missing: the config that the study starts from", path.string());
    }
    const fs::path typed = yaml_text(*base, "base");
    study.base = path.parent_path() / typed;
    if (!is_there(study.base)) study.base = typed;
    if (!is_there(study.base)) fail_input("{}: base: there is no {}", base->where, typed.string());
  }
  study.prepare = commands_of(tree.child("prepare"));

  std::vector<Variant> variants = listed(tree.child("runs"));
  if (const YamlNode* grid = tree.child("grid")) {
    if (grid->kind != YamlNode::Kind::map) fail_yaml_type(*grid, "grid", "a map of lists");
    for (const YamlEntry& axis : grid->children) variants = crossed(variants, axis);
  }
  if (!changes.seeds.empty()) {
    std::erase_if(tree.children, [](const YamlEntry& entry) { return entry.key == "seeds"; });
    YamlNode given;
    given.kind = YamlNode::Kind::list;
    std::set<std::string> once;
    for (const std::string& seed : changes.seeds) {
      if (!once.insert(seed).second) fail_input("--seeds: {} is there twice", seed);
      YamlNode& item = given.items.emplace_back();
      item.kind = YamlNode::Kind::scalar;
      item.text = seed;
    }
    tree.children.push_back({"seeds", std::move(given)});
  }
  YamlNode* seeds = tree.child("seeds");
  if (seeds != nullptr) {
    if (changes.first_seed_only && seeds->items.size() > 1) seeds->items.resize(1);
    std::vector<Variant> seeded = crossed(variants, {"seed", *seeds});
    for (std::size_t i = 0; i < seeded.size(); ++i) {
      const std::string seed = seeded[i].overrides.back().substr(5);
      const std::string& name = variants[i / seeds->items.size()].name;
      seeded[i].name = (name.empty() ? "" : name + "-") + "seed" + seed;
    }
    variants = std::move(seeded);
  }
  const std::vector<std::string> common = overrides_of(tree.child("set"), "set");
  for (const std::string& given : overrides) check_override(given, seeds != nullptr);
  check_override_names(overrides, study.variables);
  std::set<std::string> names;
  for (const Variant& variant : variants) {
    StudyRun run;
    run.name = safe_name(variant.name.empty() ? study.base.stem().string() : variant.name);
    if (!names.insert(run.name).second) {
      fail_input("{}: two runs are named '{}'; give them other names", path.string(), run.name);
    }
    run.overrides = common;
    run.overrides.insert(run.overrides.end(), variant.overrides.begin(), variant.overrides.end());
    run.overrides.insert(run.overrides.end(), overrides.begin(), overrides.end());
    run.overrides.push_back("name=" + yaml_quote(run.name));
    run.overrides.push_back("dump_dir=" + yaml_quote(study_run_folder(study, run).string()));
    run.config = dump_config(load_run_config(study.base.string(), run.overrides));
    study.runs.push_back(std::move(run));
  }
  return study;
}

}  // namespace memengine
