// What to lower, and to which value, when a config's plan does not fit.
#pragma once

#include <string>

#include "engine/config/config.h"
#include "engine/config/memory_plan.h"
#include "kernels/runtime/context.h"

namespace memengine {

// Keys of which each alone would make the plan fit into what is free now, with the largest value
// that does: "set data.batch_size=8 (now 32) or model.productkey_args.mem_n_keys=512 (now 1024)".
// Where none does alone, all of them together: "... and ...".
std::string keys_that_fit(const RunConfig& config, Device device, const MemoryBudget& budget);
std::string keys_that_fit(const RunConfig& config, Device device);

}  // namespace memengine
