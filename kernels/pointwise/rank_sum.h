// The sum of what several ranks have, once it lies in this rank's memory.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// values [n] (f32; f64 on the CPU) = (rank 0's + rank 1's) + rank 2's ..., added up in double and
// rounded once. Before, `values` holds what rank `rank` has, and row i of others [ranks - 1, n]
// what the i-th of the other ranks has. Rows of `others` may be longer than n.
void add_in_rank_order(const Context& context, Tensor values, Tensor others, int rank);

namespace cuda {
decltype(memengine::add_in_rank_order) add_in_rank_order;
}  // namespace cuda

}  // namespace memengine
