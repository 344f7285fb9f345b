// What is said once about keys that a config of the reference has and that are done here in another
// way, or not at all: sentences of one line, each with the key's place.
#pragma once

#include <string>
#include <vector>

#include "engine/config/config.h"
#include "io/config/config_reader.h"

namespace memengine {

// `reader` has bound `run`. Keys without effect, keys that share the work among GPUs, FP16.
std::vector<std::string> run_notices(const ConfigReader& reader, const RunConfig& run);
std::vector<std::string> eval_notices(const ConfigReader& reader);

}  // namespace memengine
