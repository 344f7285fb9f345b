// Which row of a full cache makes room: the coldest.
//
// Heat counts the steps that used a row, and forgets an eighth of itself with every step (LFU with
// decay). In numbers of 8 bits: a use adds 31, a row that every step uses stays at 248, and one
// that came for a single step is the next to go. On the rows that text uses this rule came within a
// few percent of the best that can be done without knowing the future (tests/GPU.md has the rules
// that were compared).
#pragma once

#include <cstdint>

#include "kernels/runtime/bfloat16.h"

namespace memengine {

inline constexpr int heat_levels = 256;
inline constexpr int heat_of_a_use = 31;

// After a step, from the heat before it.
MEMENGINE_HOST_DEVICE inline int next_heat(int heat, bool used) {
  return heat - (heat + 7) / 8 + (used ? heat_of_a_use : 0);
}

}  // namespace memengine
