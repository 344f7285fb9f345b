// The scores of the rows that a product-key lookup picked (product_key.h), which the lookup itself
// does not keep: for looking into a model in training.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// scores [N, H, knn] (f64 beside f64 activations, else f32), overwritten =
//   query's first half . first sub-key of the row + query's second half . second sub-key,
// of which product_key_forward's weights are the softmax over knn. indices, query and sub_keys as
// there.
void picked_scores(const Context& context, Tensor scores, Tensor indices, Tensor query,
                   Tensor sub_keys);

namespace cuda {
decltype(memengine::picked_scores) picked_scores;
}

}  // namespace memengine
