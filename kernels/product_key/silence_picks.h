// Silences picks of a lookup, to see what a model does without them.
//
// A silenced pick has weight 0, so its row adds nothing to the bag; the other picks keep the
// weights that they had, which then sum to less than 1.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// weights [N, H, knn] (activations' dtype) = 0 where heads[h] or rows[indices[n, h, k]] is not 0,
// and as it was elsewhere. indices [N, H, knn] i32; heads u8 [H] and rows u8 [rows of the table];
// either may be empty: none.
void silence_picks(const Context& context, Tensor weights, Tensor indices, Tensor heads,
                   Tensor rows);

namespace cuda {
decltype(memengine::silence_picks) silence_picks;
}  // namespace cuda

}  // namespace memengine
