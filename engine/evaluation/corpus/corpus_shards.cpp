#include "engine/evaluation/corpus/corpus_shards.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_no_shards(const std::string& key, const std::string& path) {
  fail_input("{}: no token shards (*.bin) in '{}' or its folders: `memengine prepare` makes them",
             key, path);
}

// Where shards are: a folder that holds some, or one by itself.
bool is_shard(const fs::path& place) {
  std::error_code ignored;
  return fs::is_regular_file(place, ignored);
}

std::vector<fs::path> places_at(const std::string& path, const std::string& key) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) fail_input("{}: nothing at '{}'", key, path);
  if (is_shard(path)) return {path};
  std::vector<fs::path> folders = shard_folders(path);
  if (folders.empty()) fail_no_shards(key, path);
  return folders;
}

std::vector<fs::path> places_of_run(const CorpusSearch& search) {
  std::error_code ignored;
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
  if (folders.empty()) folders = shard_folders(root);
  if (folders.empty()) fail_no_shards(search.key, root.string());
  return folders;
}

void refuse_named_twice(const CorpusSearch& search, const std::vector<fs::path>& files) {
  std::set<fs::path> seen;
  for (const fs::path& file : files) {
    std::error_code ignored;
    if (seen.insert(fs::weakly_canonical(file, ignored)).second) continue;
    fail_input("{}: {} is named twice: name each once", search.key, file.string());
  }
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
  std::vector<std::vector<fs::path>> named;  // the places of each path that was named
  for (const std::string& path : search.data) named.push_back(places_at(path, search.key));
  if (named.empty()) named.push_back(places_of_run(search));
  const auto has = [](const std::vector<fs::path>& places, const std::string& split) {
    return std::any_of(places.begin(), places.end(), [&](const fs::path& place) {
      return !is_shard(place) && has_split(place, split);
    });
  };
  std::string split = search.split;
  if (split.empty()) {
    const bool any = std::any_of(named.begin(), named.end(), [&](const auto& places) {
      return has(places, search.split_if_any);
    });
    split = any ? search.split_if_any : search.split_if_any == "train" ? "val" : "train";
  }
  CorpusShards shards;
  std::vector<std::string> names;
  for (const std::vector<fs::path>& places : named) {
    if (!is_shard(places.front()) && !has(places, split)) {
      fail_input("{}: no {} shards in '{}': name others", search.key, split,
                 places.front().string());
    }
    for (const fs::path& place : places) {
      if (is_shard(place)) {
        shards.files.push_back(place);
        names.push_back(place.string());
      } else if (has_split(place, split)) {
        const auto found = find_shards(place, split);
        shards.files.insert(shards.files.end(), found.begin(), found.end());
        names.push_back(fmt::format("{} ({})", place.string(), split));
      }
    }
  }
  if (!search.data.empty()) refuse_named_twice(search, shards.files);
  shards.what = fmt::format("{}", fmt::join(names, ", "));
  return shards;
}

}  // namespace memengine
