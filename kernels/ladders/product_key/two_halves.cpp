// Second rung: a pair's score is a sum, so the best pairs are made of the best halves. 2 n scores
// are looked at instead of n^2, and knn^2 pairs.
#include <algorithm>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/ladders/product_key/half_scores.h"
#include "kernels/ladders/product_key/rungs.h"
#include "kernels/product_key/select.h"

namespace memengine::ladders {
namespace {

using Candidates = std::vector<product_key::Candidate<float>>;

Candidates best_of(const float* scores, std::int64_t count, std::int64_t knn) {
  Candidates all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back({scores[i], static_cast<std::int32_t>(i)});
  std::partial_sort(all.begin(), all.begin() + knn, all.end(), product_key::better<float>);
  all.resize(static_cast<std::size_t>(knn));
  return all;
}

}  // namespace

void two_halves(const Context& context, Tensor indices, Tensor weights, Tensor query,
                Tensor sub_keys) {
  MEMENGINE_ON_CUDA(context, cuda::two_halves(context, indices, weights, query, sub_keys));
  for_each_lookup(context, indices, weights, query, sub_keys, [](const Lookup& lookup) {
    const Candidates first = best_of(lookup.first, lookup.n_keys, lookup.knn);
    const Candidates second = best_of(lookup.second, lookup.n_keys, lookup.knn);
    Candidates pairs;
    for (const auto& a : first) {
      for (const auto& b : second) {
        pairs.push_back(
            {a.score + b.score, static_cast<std::int32_t>(a.index * lookup.n_keys + b.index)});
      }
    }
    std::partial_sort(pairs.begin(), pairs.begin() + lookup.knn, pairs.end(),
                      product_key::better<float>);
    for (std::int64_t k = 0; k < lookup.knn; ++k) {
      lookup.indices[k] = pairs[static_cast<std::size_t>(k)].index;
      lookup.weights[k] = pairs[static_cast<std::size_t>(k)].score;
    }
    softmax_of_picks(lookup.weights, lookup.knn);
  });
}

}  // namespace memengine::ladders
