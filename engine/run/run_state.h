// What a checkpoint says beside its tensors: where the run stands, and which config it is of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "io/checkpoints/checkpoint.h"
#include "io/shards/loader.h"

namespace memengine {

struct RunState {
  std::int64_t step = 0;
  std::int64_t total_tokens = 0;
  LoaderPosition position;
  std::string config;          // as resolved when the checkpoint was written, YAML
  std::string tokenizer_hash;  // empty in checkpoints of older versions
  std::int64_t ranks = 1;      // that trained
};

CheckpointState run_state(const RunConfig& config, const RunState& state);
RunState read_run_state(const Checkpoint& checkpoint);

// What may change on resume: freely what does not touch the numbers (steps, paths, logging,
// validation, where things lie); with a notice what makes other numbers from here on (learning
// rates, batch size). All else makes it another run: input error that names every such key with
// both values, unless checkpoint.force_resume. Returns the notices.
std::vector<std::string> check_resumable(const RunConfig& config, const std::string& tokenizer_hash,
                                         const RunState& state, const std::string& checkpoint);

}  // namespace memengine
