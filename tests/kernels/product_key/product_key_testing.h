// Problems of product keys, and the fixture of their tests.
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <set>
#include <tuple>

#include "kernels/product_key/product_key.h"
#include "tests/support/op_test.h"

namespace memengine::product_key_testing {

struct Shape {
  std::int64_t tokens, heads, knn, n_keys, k_dim;
};
// knn = 1, knn = n_keys, n_keys = 1, and sizes that are multiples of nothing.
inline constexpr Shape shapes[] = {{1, 1, 1, 1, 2},     {19, 2, 3, 19, 6},    {33, 3, 32, 99, 34},
                                   {5, 1, 19, 19, 16},  {67, 2, 1, 33, 10},   {40, 4, 32, 128, 64},
                                   {99, 1, 7, 257, 38}, {3, 2, 8, 1024, 128}, {300, 1, 5, 17, 38}};

// Flagship sizes: n_keys of zero_copy.yaml, knn up to the most that CUDA takes, half keys that the
// fused kernel takes and ones that it does not, more tokens than one chunk of scores has.
inline constexpr Shape large_shapes[] = {
    {3, 2, 32, 8000, 512},  {700, 1, 32, 8000, 16}, {19, 1, 33, 989, 32},  {150, 2, 64, 1024, 16},
    {33, 2, 100, 300, 48},  {5, 1, 128, 8000, 32},  {130, 3, 128, 129, 8}, {300, 4, 32, 1024, 256},
    {257, 4, 32, 512, 32},  {99, 2, 31, 127, 144},  {70, 1, 1, 8000, 32},  {64, 2, 20, 96, 32},
    {40, 2, 32, 2049, 272}, {9000, 4, 5, 130, 16}};

struct Problem {
  Shape shape;
  std::vector<double> query, sub_keys;  // [N, H, k_dim], [H, 2, n_keys, k_dim / 2]

  std::int64_t groups() const { return shape.tokens * shape.heads; }

  // Score of row i1 * n_keys + i2 for the query of group (token, head).
  double score(std::int64_t group, std::int64_t row) const {
    const std::int64_t half_dim = shape.k_dim / 2;
    const std::int64_t keys[2] = {row / shape.n_keys, row % shape.n_keys};
    double sum = 0;
    for (std::int64_t half = 0; half < 2; ++half) {
      const std::int64_t key = (group % shape.heads * 2 + half) * shape.n_keys + keys[half];
      for (std::int64_t i = 0; i < half_dim; ++i) {
        sum += query[index(group * shape.k_dim + half * half_dim + i)] *
               sub_keys[index(key * half_dim + i)];
      }
    }
    return sum;
  }

  // The knn best rows of one group among all n_keys^2; equal scores: the lower row first.
  std::vector<std::int32_t> best_rows(std::int64_t group) const {
    std::vector<std::pair<double, std::int32_t>> all;
    const auto n = static_cast<std::int32_t>(shape.n_keys);
    std::vector<double> first, second;
    for (std::int32_t i = 0; i < n; ++i) {
      // score(i, j) = score(i, 0) + (score(0, j) - score(0, 0)): 2 n sums instead of n^2.
      first.push_back(score(group, std::int64_t{i} * n));
      second.push_back(score(group, i) - score(group, 0));
    }
    for (std::int32_t i = 0; i < n; ++i) {
      for (std::int32_t j = 0; j < n; ++j) all.push_back({-first[i] - second[j], i * n + j});
    }
    std::partial_sort(all.begin(), all.begin() + shape.knn, all.end());
    std::vector<std::int32_t> rows;
    for (std::int64_t k = 0; k < shape.knn; ++k) rows.push_back(all[index(k)].second);
    return rows;
  }

  // The same for large n_keys, best first: a pair of sorted halves comes after both the pair with
  // the next better first half and the one with the next better second half.
  std::vector<std::int32_t> best_rows_of_many(std::int64_t group) const {
    const auto n = static_cast<std::int32_t>(shape.n_keys);
    const std::int64_t half_dim = shape.k_dim / 2;
    std::vector<std::pair<double, std::int32_t>> sorted[2];  // minus the score, sub-key
    for (std::int64_t half = 0; half < 2; ++half) {
      const double* q = query.data() + group * shape.k_dim + half * half_dim;
      const double* key =
          sub_keys.data() + (group % shape.heads * 2 + half) * shape.n_keys * half_dim;
      for (std::int32_t i = 0; i < n; ++i, key += half_dim) {
        sorted[half].push_back({-std::inner_product(q, q + half_dim, key, 0.0), i});
      }
      std::partial_sort(sorted[half].begin(), sorted[half].begin() + shape.knn, sorted[half].end());
    }
    using Pair =
        std::tuple<double, std::int32_t, std::size_t, std::size_t>;  // minus sum, row, a, b
    std::priority_queue<Pair, std::vector<Pair>, std::greater<>> open;
    std::set<std::pair<std::size_t, std::size_t>> seen;
    const auto reach = [&](std::size_t a, std::size_t b) {
      if (a >= index(shape.knn) || b >= index(shape.knn) || !seen.insert({a, b}).second) return;
      const auto& [first, i] = sorted[0][a];
      const auto& [second, j] = sorted[1][b];
      open.push({first + second, i * n + j, a, b});
    };
    reach(0, 0);
    std::vector<std::int32_t> rows;
    for (std::int64_t k = 0; k < shape.knn; ++k) {
      const auto [score, row, a, b] = open.top();
      open.pop();
      rows.push_back(row);
      reach(a + 1, b);
      reach(a, b + 1);
    }
    return rows;
  }

  // Of all groups [N, H, knn].
  std::vector<std::int32_t> all_best_rows() const {
    std::vector<std::int32_t> best;
    for (std::int64_t group = 0; group < groups(); ++group) {
      const std::vector<std::int32_t> rows =
          shape.n_keys <= 128 ? best_rows(group) : best_rows_of_many(group);
      best.insert(best.end(), rows.begin(), rows.end());
    }
    return best;
  }

  // Softmax of the scores of the given rows [N, H, knn].
  std::vector<double> weights(const std::vector<std::int32_t>& rows) const {
    std::vector<double> result(rows.size());
    for (std::int64_t group = 0; group < groups(); ++group) {
      double best = -1e300;
      double sum = 0;
      for (std::int64_t k = 0; k < shape.knn; ++k) {
        double& weight = result[index(group * shape.knn + k)];
        weight = score(group, rows[index(group * shape.knn + k)]);
        best = std::max(best, weight);
      }
      for (std::int64_t k = 0; k < shape.knn; ++k) {
        double& weight = result[index(group * shape.knn + k)];
        weight = std::exp(weight - best);
        sum += weight;
      }
      for (std::int64_t k = 0; k < shape.knn; ++k) result[index(group * shape.knn + k)] /= sum;
    }
    return result;
  }

  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }
};

class ProductKey : public OpTest {
 protected:
  // Small integers as queries and keys make exact scores in every dtype, and many ties.
  Problem problem(const Shape& shape, bool integers) {
    Problem p{shape, {}, {}};
    p.query = normal(shape.tokens * shape.heads * shape.k_dim);
    p.sub_keys = normal(shape.heads * shape.n_keys * shape.k_dim);
    if (integers) {
      for (double& x : p.query) x = std::round(x);
      for (double& x : p.sub_keys) x = std::round(x);
    }
    return p;
  }
  void upload_problem(Problem& p) {
    const auto& [tokens, heads, knn, n_keys, k_dim] = p.shape;
    query_ = upload(dtype(), {tokens, heads, k_dim}, p.query);
    sub_keys_ = upload(dtype(), {heads, 2, n_keys, k_dim / 2}, p.sub_keys);
    indices_ = poisoned(DType::i32, {tokens, heads, knn});
    weights_ = poisoned(dtype(), {tokens, heads, knn});
    reserve_scratch(
        product_key_scratch_bytes(context().device, {tokens, heads, knn, n_keys, k_dim, dtype()}));
  }
  void forward() { product_key_forward(context(), indices_, weights_, query_, sub_keys_); }

  Tensor query_, sub_keys_, indices_, weights_;
};

}  // namespace memengine::product_key_testing
