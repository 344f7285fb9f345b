// Token shards to read a model's loss on, or its memory's use: named, or those that it was trained
// beside.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "engine/config/config.h"

namespace memengine {

struct CorpusSearch {
  // Each a folder of shards, a folder of such folders, or one shard; none: what the model's run was
  // trained on.
  std::vector<std::string> data;
  std::string split;                // "train", "val"; empty: `split_if_any`, else the other
  std::string split_if_any;         // "train" or "val"
  std::string key;                  // where a user names `data`, for messages: "--data"
  std::string model;                // whose run it is, for messages
  const DataConfig* run = nullptr;  // of the model's run; none: it has none
};

struct CorpusShards {
  std::vector<std::filesystem::path> files;
  std::string what;  // "data/novels (val)"
};

// Input errors: nothing there, no shards, a shard named twice, no data named where the model has no
// run, or its data are gone.
CorpusShards find_corpus(const CorpusSearch& search);

// The folders with shards that a path means: itself, or those in it, by name.
std::vector<std::filesystem::path> shard_folders(const std::filesystem::path& path);

}  // namespace memengine
