// What an evaluation's config leaves open, settled before anything is computed: which of its tasks
// are here, and where their sets lie. The reference's configs name tasks that are not here and no
// folder; they still mean the rest.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"

namespace memengine {

// Leaves out the tasks that are not here. Without a data_dir it looks for a folder of sets: "eval",
// then "data/eval"; what its tasks lack there is left out too. Returns a sentence about each.
// Input errors: no tasks, none that is here, no folder.
std::vector<std::string> settle_evaluation(EvalConfig& config);

// The same for `eval` of a training config, whose sets may also lie in <data.root_dir>/eval. Where
// nothing is left to evaluate the result is empty, and a sentence says why.
struct SettledEvaluation {
  std::optional<EvalConfig> config;
  std::vector<std::string> notices;
};
SettledEvaluation settle_evaluation(const RunConfig& run);

}  // namespace memengine
