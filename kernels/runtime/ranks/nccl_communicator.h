// Ranks on GPUs, over NCCL: each process has one GPU, device 0 of those it sees.
//
// Sums are NCCL's own: deterministic for the same ranks on the same machines, in an order that NCCL
// chooses. NVLink multicast (NVLS) is off: its sums are not the same every time, and on a host that
// others share it is unsafe.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "kernels/runtime/communicator.h"

namespace memengine {

// What rank 0 makes and hands to all others, by whatever way they have met.
using NcclId = std::array<std::byte, 128>;

// Whether this build has NCCL.
bool nccl_is_built_in();

// Input error where this build has no NCCL.
NcclId new_nccl_id();

// All ranks call this together, with one id. Input error where this build has no NCCL, internal
// error where they do not come together.
std::unique_ptr<Communicator> nccl_communicator(int rank, int size, const NcclId& id);

}  // namespace memengine
