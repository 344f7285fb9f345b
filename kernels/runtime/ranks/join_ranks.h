// Where a run gets its communicator from.
#pragma once

#include <memory>

#include "kernels/runtime/communicator.h"

namespace memengine {

// The ranks that this process was started with, by what mpirun leaves in the environment; one where
// nobody started several. The caller owns the communicator, and calls leave() at the orderly end of
// its work. Input error where this build cannot join them.
std::unique_ptr<Communicator> join_ranks(Device device);

}  // namespace memengine
