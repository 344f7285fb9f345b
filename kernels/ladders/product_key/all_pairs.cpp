// First rung: n^2 sums for each lookup, and the knn best of all.
#include <algorithm>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/ladders/product_key/half_scores.h"
#include "kernels/ladders/product_key/rungs.h"
#include "kernels/product_key/select.h"

namespace memengine::ladders {

void all_pairs(const Context& context, Tensor indices, Tensor weights, Tensor query,
               Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::all_pairs(context, indices, weights, query, sub_keys));
  for_each_lookup(context, indices, weights, query, sub_keys, [](const Lookup& lookup) {
    std::vector<product_key::Candidate<float>> keys;
    keys.reserve(static_cast<std::size_t>(lookup.n_keys * lookup.n_keys));
    for (std::int64_t i1 = 0; i1 < lookup.n_keys; ++i1) {
      for (std::int64_t i2 = 0; i2 < lookup.n_keys; ++i2) {
        keys.push_back({lookup.first[i1] + lookup.second[i2],
                        static_cast<std::int32_t>(i1 * lookup.n_keys + i2)});
      }
    }
    std::partial_sort(keys.begin(), keys.begin() + lookup.knn, keys.end(),
                      product_key::better<float>);
    for (std::int64_t k = 0; k < lookup.knn; ++k) {
      lookup.indices[k] = keys[static_cast<std::size_t>(k)].index;
      lookup.weights[k] = keys[static_cast<std::size_t>(k)].score;
    }
    softmax_of_picks(lookup.weights, lookup.knn);
  });
}

}  // namespace memengine::ladders
