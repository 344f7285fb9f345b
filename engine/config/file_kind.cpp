#include "engine/config/file_kind.h"

#include <algorithm>
#include <initializer_list>

#include "io/config/config_reader.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

bool has_any(const YamlNode& tree, std::initializer_list<const char*> keys) {
  return std::any_of(keys.begin(), keys.end(),
                     [&](const char* key) { return tree.child(key) != nullptr; });
}

}  // namespace

FileKind kind_of(const YamlNode& tree) {
  if (tree.kind != YamlNode::Kind::map) return FileKind::unknown;
  if (has_any(tree, {"base"}) && has_any(tree, {"runs", "grid", "seeds", "set", "out"})) {
    return FileKind::study;
  }
  if (has_any(tree, {"model", "optim", "steps"})) return FileKind::run;
  return has_any(tree, {"ckpt_dir", "harness"}) ? FileKind::evaluation : FileKind::unknown;
}

void refuse_other_kind(const YamlNode& tree, const std::string& path, FileKind asked) {
  const FileKind kind = kind_of(tree);
  if (kind == asked) return;
  if (kind == FileKind::study) fail_input("{0} is a study: memengine study {0}", path);
  if (kind == FileKind::run) fail_input("{0} is the config of a run: memengine train {0}", path);
  if (kind == FileKind::evaluation) {
    fail_input("{0} is the config of an evaluation: memengine eval {0}", path);
  }
}

void refuse_other_kind(const std::string& path, FileKind asked) {
  YamlNode tree;
  try {
    tree = parse_yaml(read_text_file(path, ConfigReader::max_bytes), path,
                      {ConfigReader::max_bytes, ConfigReader::max_nodes, ConfigReader::max_depth});
  } catch (const Error&) {
    return;
  }
  refuse_other_kind(tree, path, asked);
}

}  // namespace memengine
