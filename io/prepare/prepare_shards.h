// Pass 2 of prepare: spilled token records, in the order of their keys, to shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "io/prepare/prepare.h"
#include "io/prepare/prepare_tokenize.h"

namespace memengine {

struct WrittenSplit {
  std::int64_t documents = 0, tokens = 0, shards = 0;
};
struct WrittenShards {
  WrittenSplit train, val;
};

// Drains the spill files below `work` into shards in `folder`: the first documents in key order to
// `val`, as many as options.validation_fraction says, or those of `val_pass`, which has spill files
// of its own. None when options.stop said so.
std::optional<WrittenShards> write_shards(const PrepareOptions& options, const std::string& name,
                                          const std::filesystem::path& work,
                                          const TokenizePass& train_pass,
                                          const TokenizePass* val_pass,
                                          const std::filesystem::path& folder);

}  // namespace memengine
