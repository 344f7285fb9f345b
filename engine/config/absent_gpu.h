// Plans for a GPU that is not here.
//
// Almost all of a plan follows from shapes. The exception is the scratch memory of the GPU's sorts,
// which CUB says only where there is a GPU and its driver; without them, and in builds without
// CUDA, the plan takes the estimates below.
#pragma once

#include <cstdint>

#include "kernels/runtime/context.h"
#include "model/transformer.h"

namespace memengine {

// Whether `device` can say itself what its ops need.
bool can_be_asked(Device device);

// What the ops of a forward and backward pass take in turns on a GPU, within 1% of a whole plan.
std::int64_t estimated_pass_scratch_bytes(const Transformer& transformer);
// What the update of table rows takes beside them.
std::int64_t estimated_row_scratch_bytes(const Transformer& transformer);

}  // namespace memengine
