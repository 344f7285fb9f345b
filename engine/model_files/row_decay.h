// The decay that value rows have already had, from a checkpoint.
#pragma once

#include <vector>

#include "io/checkpoints/checkpoint.h"

namespace memengine {

// Name of the tensor in optimizer.safetensors, f64 [step + 1], where rows decay.
inline constexpr const char* past_decay_name = "optimizer.value_log_decay";

// Cumulative log decay [step + 1] of a checkpoint's value rows, as it was in force at each update:
// what remains of a row at the checkpoint's step is exp(decay[step] - decay[its last update]). All
// zero where rows do not decay lazily. Older checkpoints do not have it: theirs is computed from
// the config they were written with. Input error when the tensor has another shape.
std::vector<double> past_row_decay(const Checkpoint& checkpoint);

}  // namespace memengine
