// What a checkpoint says beside its tensors: where the run stands, and which config it is of.
#pragma once

#include <cstdint>
#include <string>

#include "engine/config.h"
#include "io/checkpoint.h"
#include "io/loader.h"

namespace memengine {

struct RunState {
  std::int64_t step = 0;
  std::int64_t total_tokens = 0;
  LoaderPosition position;
  std::string config;  // as resolved when the checkpoint was written, YAML
};

CheckpointState run_state(const RunConfig& config, std::int64_t step, std::int64_t total_tokens,
                          const LoaderPosition& position);
RunState read_run_state(const Checkpoint& checkpoint);

// Steps, logging, validation and paths may change on resume; what decides the numbers may not.
// Input error that names the first key that differs.
void check_resumable(const RunConfig& config, const RunState& state, const std::string& checkpoint);

}  // namespace memengine
