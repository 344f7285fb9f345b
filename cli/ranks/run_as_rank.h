// The frame of a command that several ranks run together.
#pragma once

#include <functional>

#include "engine/config/config.h"
#include "kernels/runtime/ranks/join_ranks.h"

namespace memengine {

// Joins the ranks that this process was started with, does `work`, and leaves them in order. Where
// another rank ends before, or this one fails, the others are told, the right ones of them say so
// in one line each, and all end with the same exit code.
void run_as_rank(const RankStart& start, DeviceChoice device,
                 const std::function<void(JoinedRanks&)>& work);

// What all ranks find out alike before they join, such as a wrong config: rank 0 alone says it.
void said_by_first(const RankStart& start, const std::function<void()>& work);

}  // namespace memengine
