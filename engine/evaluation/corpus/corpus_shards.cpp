#include "engine/evaluation/corpus/corpus_shards.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> folders_of(const CorpusSearch& search) {
  std::error_code ignored;
  if (!search.data.empty()) {
    if (!fs::exists(search.data, ignored)) {
      fail_input("{}: nothing at '{}'", search.key, search.data);
    }
    return shard_folders(search.data);
  }
  if (search.run == nullptr || !search.run->root_dir) {
    fail_input("{}: the model does not say what it was trained on: name shards with {}",
               search.model, search.key);
  }
  const fs::path root = *search.run->root_dir;
  if (!fs::is_directory(root, ignored)) {
    fail_input(
        "{}: its data '{}' is not there: run from the folder where it was trained, or name "
        "shards with {}",
        search.model, root.string(), search.key);
  }
  std::vector<fs::path> folders;
  for (const auto& [name, weight] : search.run->sources) folders.push_back(root / name);
  return folders.empty() ? shard_folders(root) : folders;
}

}  // namespace

std::vector<fs::path> shard_folders(const fs::path& path) {
  std::error_code ignored;
  std::vector<fs::path> folders;
  const auto holds_shards = [&](const fs::path& folder) {
    return has_split(folder, "train") || has_split(folder, "val");
  };
  if (holds_shards(path)) return {path};
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    if (entry.is_directory(ignored) && holds_shards(entry.path())) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

CorpusShards find_corpus(const CorpusSearch& search) {
  std::error_code ignored;
  if (!search.data.empty() && fs::is_regular_file(search.data, ignored)) {
    return {{search.data}, search.data};
  }
  const std::vector<fs::path> folders = folders_of(search);
  if (folders.empty()) {
    fail_input("{}: no token shards (*.bin) in '{}' or its folders: `memengine prepare` makes them",
               search.key, search.data.empty() ? *search.run->root_dir : search.data);
  }
  const auto any_has = [&](const std::string& split) {
    return std::any_of(folders.begin(), folders.end(),
                       [&](const fs::path& folder) { return has_split(folder, split); });
  };
  std::string split = search.split;
  if (split.empty()) {
    split = any_has(search.split_if_any)     ? search.split_if_any
            : search.split_if_any == "train" ? "val"
                                             : "train";
  }
  CorpusShards shards;
  std::vector<std::string> names;
  for (const fs::path& folder : folders) {
    if (!has_split(folder, split)) continue;
    const auto found = find_shards(folder, split);
    shards.files.insert(shards.files.end(), found.begin(), found.end());
    names.push_back(folder.string());
  }
  if (shards.files.empty()) {
    fail_input("{}: no {} shards in '{}': name others", search.key, split,
               folders.front().string());
  }
  shards.what = fmt::format("{} ({})", fmt::join(names, ", "), split);
  return shards;
}

}  // namespace memengine
