// The names of all keys, for texts that speak of them.
#pragma once

#include <string>
#include <vector>

namespace memengine {

// Dotted keys that a run's config may have, `eval` included, or that a standalone evaluation's may;
// also those that are accepted without effect. Below `data.sources` any name is one.
std::vector<std::string> run_config_keys();
std::vector<std::string> eval_config_keys();

}  // namespace memengine
