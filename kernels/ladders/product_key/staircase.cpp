// Third rung: with both halves best first, pair (a, b) cannot be among the knn best unless the
// (a + 1)(b + 1) - 1 pairs that are at least as good are too: a staircase of 119 of the 1,024 pairs
// where knn is 32. And a score below the worst of the best so far need not be kept at all.
// (select.h has both; the memory it works in is there once for each thread.)
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/ladders/product_key/half_scores.h"
#include "kernels/ladders/product_key/rungs.h"
#include "kernels/product_key/select.h"

namespace memengine::ladders {

void staircase(const Context& context, Tensor indices, Tensor weights, Tensor query,
               Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::staircase(context, indices, weights, query, sub_keys));
  for_each_lookup(context, indices, weights, query, sub_keys, [](const Lookup& lookup) {
    thread_local std::vector<product_key::Candidate<float>> best;
    thread_local std::vector<product_key::PairCandidate<float>> pairs;
    best.resize(static_cast<std::size_t>(4 * lookup.knn));
    pairs.resize(static_cast<std::size_t>(product_key::pair_count(lookup.knn)));
    product_key::Candidate<float>* first = best.data();
    product_key::Candidate<float>* second = first + 2 * lookup.knn;
    product_key::select_best(first, lookup.first, lookup.n_keys, lookup.knn);
    product_key::select_best(second, lookup.second, lookup.n_keys, lookup.knn);
    product_key::combine_halves(pairs.data(), first, second, lookup.knn, lookup.n_keys);
    for (std::int64_t k = 0; k < lookup.knn; ++k) {
      lookup.indices[k] = pairs[static_cast<std::size_t>(k)].row;
      lookup.weights[k] = pairs[static_cast<std::size_t>(k)].sum;
    }
    softmax_of_picks(lookup.weights, lookup.knn);
  });
}

}  // namespace memengine::ladders
