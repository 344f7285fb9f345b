#include "tests/docs/checker/keys.h"

#include <vector>

#include "engine/config/config.h"
#include "engine/config/config_keys.h"
#include "engine/study/study.h"
#include "io/config/yaml_tree.h"
#include "kernels/runtime/error.h"
#include "tests/docs/checker/words.h"
#include "tests/io/temporary_folder.h"

namespace memengine::prose {
namespace {

constexpr YamlLimits limits = {1 << 20, 20'000, 64};

const YamlNode* value_of(const YamlNode& node, std::string_view key) {
  return node.kind == YamlNode::Kind::map ? node.child(key) : nullptr;
}

// The study's loader checks the config of every run, with the base that the file names, seen from
// configs/studies or as typed.
void check_study(const YamlNode& study, const std::string& yaml,
                 const std::filesystem::path& root) {
  TemporaryFolder folder;
  StudyChanges changes;
  const YamlNode* base = value_of(study, "base");
  if (base && !base->text.empty()) {
    const auto beside = (root / "configs/studies" / base->text).lexically_normal();
    changes.base = std::filesystem::exists(beside) ? beside : root / base->text;
  }
  load_study(folder.write("block", yaml), changes);
}

// A part of a config, which lacks what a whole one needs: the names of its keys.
std::string part_complaint(const YamlNode& node, const std::string& section, const Keys& keys) {
  for (const YamlEntry& entry : node.children) {
    const std::string key = section.empty() ? entry.key : section + "." + entry.key;
    if (std::string found = keys.complaint(key); !found.empty()) return found;
    if (std::string found = part_complaint(entry.value, key, keys); !found.empty()) return found;
  }
  return "";
}

}  // namespace

Keys::Keys() {
  for (const std::vector<std::string>& keys : {run_config_keys(), eval_config_keys()}) {
    for (const std::string& key : keys) {
      whole_.insert(key);
      for (std::size_t dot = 0; dot != std::string::npos; dot = key.find('.', dot + 1)) {
        endings_.insert(key.substr(dot == 0 ? 0 : dot + 1));
        if (dot > 0) {
          sections_.insert(key.substr(0, dot));
          first_parts_.insert(key.substr(0, key.find('.')));
        }
      }
    }
  }
}

bool Keys::has(const std::string& key) const {
  if (endings_.contains(key) || sections_.contains(key)) return true;
  if (key.starts_with("data.sources.")) return true;
  // productkey_args.mem_knn, rope_scaling: the end of a section.
  const std::string end = "." + key;
  for (const std::string& section : sections_) {
    if (section.ends_with(end)) return true;
  }
  return false;
}

bool Keys::begins_like_a_key(const std::string& word) const {
  const std::size_t dot = word.find('.');
  return dot != std::string::npos && first_parts_.contains(word.substr(0, dot));
}

std::string Keys::complaint(const std::string& key) const {
  for (std::string one : expand_braces(key)) {
    if (one.ends_with("...") || one.empty()) continue;
    if (one.ends_with(".*")) one.resize(one.size() - 2);
    if (has(one)) continue;
    std::string near = nearest(one, whole_);
    if (near.empty()) near = nearest(one, endings_);
    return "there is no config key '" + one + "'" + near;
  }
  return "";
}

std::string yaml_complaint(const std::string& yaml, const std::filesystem::path& tree) {
  try {
    const YamlNode root = parse_yaml(yaml, "block", limits);
    if (value_of(root, "base")) {
      check_study(root, yaml, tree);
    } else if (!value_of(root, "dump_dir")) {
      return part_complaint(root, "", Keys());
    } else if (value_of(root, "harness") || value_of(root, "ckpt_dir")) {
      parse_eval_config(yaml, "block");
    } else {
      parse_run_config(yaml, "block");
    }
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace memengine::prose
