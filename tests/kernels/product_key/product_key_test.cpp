// The product-key lookup against a search of all n^2 keys (best first where n^2 is too many), and
// its gradients against the formula and against finite differences.
#include "kernels/product_key/product_key.h"

#include <omp.h>

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <set>
#include <tuple>

#include "tests/support/op_test.h"

namespace memengine {
namespace {

struct Shape {
  std::int64_t tokens, heads, knn, n_keys, k_dim;
};
// knn = 1, knn = n_keys, n_keys = 1, and sizes that are multiples of nothing.
constexpr Shape shapes[] = {{1, 1, 1, 1, 2},     {19, 2, 3, 19, 6},   {33, 3, 32, 99, 34},
                            {5, 1, 19, 19, 16},  {67, 2, 1, 33, 10},  {40, 4, 32, 128, 64},
                            {99, 1, 7, 257, 38}, {3, 2, 8, 1024, 128}};

// Flagship sizes: n_keys of zero_copy.yaml, knn up to the most that CUDA takes, half keys that the
// fused kernel takes and ones that it does not, more tokens than one chunk of scores has.
constexpr Shape large_shapes[] = {
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

TEST_P(ProductKey, FindsTheBestOfAllPairs) {
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn);
    Problem p = problem(shape, false);
    upload_problem(p);
    forward();
    const std::vector<std::int32_t> rows = download_integers(indices_);
    std::vector<std::int32_t> best;
    for (std::int64_t group = 0; group < p.groups(); ++group) {
      const std::vector<std::int32_t> group_best = p.best_rows(group);
      best.insert(best.end(), group_best.begin(), group_best.end());
      // Rounding may exchange rows of nearly equal score, but never picks one twice.
      const auto first = rows.begin() + group * shape.knn;
      ASSERT_EQ(std::set<std::int32_t>(first, first + shape.knn).size(), group_best.size());
      for (std::int64_t k = 0; k < shape.knn; ++k) {
        ASSERT_GE(first[k], 0);
        ASSERT_LT(first[k], shape.n_keys * shape.n_keys);
        EXPECT_NEAR(p.score(group, first[k]), p.score(group, group_best[Problem::index(k)]),
                    dtype() == DType::f64 ? 0 : 1e-4);
      }
    }
    if (dtype() == DType::f64) {
      EXPECT_EQ(rows, best);
    }
    expect_close(download(weights_), p.weights(best));
  }
}

TEST_P(ProductKey, BreaksTiesByTheLowerRow) {
  for (const Shape& shape : shapes) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn);
    Problem p = problem(shape, true);
    upload_problem(p);
    forward();
    std::vector<std::int32_t> best;
    for (std::int64_t group = 0; group < p.groups(); ++group) {
      const std::vector<std::int32_t> group_best = p.best_rows(group);
      best.insert(best.end(), group_best.begin(), group_best.end());
    }
    EXPECT_EQ(download_integers(indices_), best);
  }
}

TEST_P(ProductKey, LargeTablesGiveTheExactRows) {
  for (const Shape& shape : large_shapes) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn
                                    << ", k_dim " << shape.k_dim << ", tokens " << shape.tokens);
    Problem p = problem(shape, true);
    upload_problem(p);
    forward();
    const std::vector<std::int32_t> best = p.all_best_rows();
    ASSERT_EQ(download_integers(indices_), best);
    expect_close(download(weights_), p.weights(best));
  }
}

// Few distinct sub-keys, each planted many times: ties within halves, between pairs, at the end of
// what is picked, all in one column block or far apart.
TEST_P(ProductKey, PlantedTiesGiveTheLowerRows) {
  for (const Shape& shape :
       {Shape{65, 2, 32, 1024, 32}, Shape{20, 1, 128, 8000, 16}, Shape{20, 1, 32, 8000, 16},
        Shape{130, 4, 32, 512, 32}, Shape{33, 1, 7, 300, 16}, Shape{33, 1, 64, 130, 6}}) {
    for (const std::int64_t distinct : {1, 2, 5, 40}) {
      for (const std::int64_t run : {1, 4, 128}) {  // equal neighbours
        SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn
                                        << ", " << distinct << " distinct keys in runs of " << run);
        Problem p = problem(shape, true);
        const std::int64_t half_dim = shape.k_dim / 2;
        for (std::int64_t part = 0; part < 2 * shape.heads; ++part) {
          for (std::int64_t i = 0; i < shape.n_keys; ++i) {
            const std::int64_t same = i / run % distinct;
            std::copy_n(p.sub_keys.begin() + (part * shape.n_keys + same) * half_dim, half_dim,
                        p.sub_keys.begin() + (part * shape.n_keys + i) * half_dim);
          }
        }
        upload_problem(p);
        forward();
        ASSERT_EQ(download_integers(indices_), p.all_best_rows());
      }
    }
  }
}

// Half scores of 2^24 + c and of d < 2: their rounded sums tie where exact ones do not. The order
// is that of the exact sums.
TEST_P(ProductKey, RoundedSumsDoNotTie) {
  for (const Shape& shape : {Shape{70, 2, 32, 200, 16}, Shape{20, 1, 32, 1000, 16},
                             Shape{20, 1, 100, 300, 16}, Shape{9, 1, 5, 40, 6}}) {
    SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn);
    Problem p = problem(shape, true);
    const std::int64_t half_dim = shape.k_dim / 2;
    std::fill(p.query.begin(), p.query.end(), 0.0);
    std::fill(p.sub_keys.begin(), p.sub_keys.end(), 0.0);
    for (std::int64_t group = 0; group < p.groups(); ++group) {
      double* first = p.query.data() + group * shape.k_dim;
      first[0] = 4096;
      first[1] = 1;
      first[half_dim] = 1;
    }
    for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
      double* elements = p.sub_keys.data() + key * half_dim;
      if (key / shape.n_keys % 2 == 0) {
        elements[0] = 4096;
        elements[1] = 2.0 * static_cast<double>(integer(0, 20));
      } else {
        elements[0] = static_cast<double>(integer(0, 15)) / 8;
      }
    }
    upload_problem(p);
    forward();
    ASSERT_EQ(download_integers(indices_), p.all_best_rows());
  }
}

// Scores that rise with the sub-key, or fall: every chunk, or only the first, has what is best.
TEST_P(ProductKey, SortedScoresFindTheirEnds) {
  for (const Shape& shape : {Shape{40, 2, 32, 1024, 16}, Shape{3, 1, 32, 8000, 16},
                             Shape{9, 1, 100, 700, 16}, Shape{20, 1, 3, 255, 16}}) {
    for (const double sign : {1.0, -1.0}) {
      SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", sign " << sign);
      Problem p = problem(shape, false);
      const std::int64_t half_dim = shape.k_dim / 2;
      std::fill(p.query.begin(), p.query.end(), 0.0);
      std::fill(p.sub_keys.begin(), p.sub_keys.end(), 0.0);
      for (std::int64_t half = 0; half < 2 * p.groups(); ++half) {
        p.query[Problem::index(half * half_dim)] = 128;
        p.query[Problem::index(half * half_dim + 1)] = 1;
      }
      for (std::int64_t key = 0; key < 2 * shape.heads * shape.n_keys; ++key) {
        const std::int64_t i = key % shape.n_keys;
        p.sub_keys[Problem::index(key * half_dim)] = sign * static_cast<double>(i / 128);
        p.sub_keys[Problem::index(key * half_dim + 1)] = sign * static_cast<double>(i % 128);
      }
      upload_problem(p);
      forward();
      ASSERT_EQ(download_integers(indices_), p.all_best_rows());
    }
  }
}

TEST_P(ProductKey, EqualKeysGiveTheFirstRows) {
  Problem p = problem({19, 2, 9, 40, 8}, false);
  std::fill(p.sub_keys.begin(), p.sub_keys.end(), 0.5);
  upload_problem(p);
  forward();
  const std::vector<std::int32_t> rows = download_integers(indices_);
  for (std::size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], static_cast<int>(i % 9));
  for (const double weight : download(weights_)) EXPECT_NEAR(weight, 1.0 / 9, 1e-3);
}

TEST_P(ProductKey, NotANumberStaysWithinTheTable) {
  Problem p = problem({33, 2, 7, 50, 8}, false);
  const std::size_t poisoned_values = 5 * 2 * 8;  // the first five tokens
  std::fill_n(p.query.begin(), poisoned_values, std::nan(""));
  upload_problem(p);
  forward();
  for (const std::int32_t row : download_integers(indices_)) {
    EXPECT_GE(row, 0);
    EXPECT_LT(row, 50 * 50);
  }
  const std::vector<double> weights = download(weights_);
  for (std::size_t i = 0; i < 5 * 2 * 7; ++i) EXPECT_TRUE(std::isnan(weights[i]));
  for (std::size_t i = 5 * 2 * 7; i < weights.size(); ++i) EXPECT_FALSE(std::isnan(weights[i]));
}

// The gradients by the formula, from the rows and weights that the device has.
struct Gradients {
  std::vector<double> query, sub_keys;
};
Gradients expected_gradients(const Problem& p, const std::vector<std::int32_t>& rows,
                             const std::vector<double>& weights,
                             const std::vector<double>& dweights) {
  const auto& [tokens, heads, knn, n_keys, k_dim] = p.shape;
  Gradients gradients{std::vector<double>(p.query.size()), std::vector<double>(p.sub_keys.size())};
  const auto at = Problem::index;
  for (std::int64_t group = 0; group < p.groups(); ++group) {
    double mean = 0;
    for (std::int64_t k = group * knn; k < (group + 1) * knn; ++k) {
      mean += weights[at(k)] * dweights[at(k)];
    }
    for (std::int64_t k = group * knn; k < (group + 1) * knn; ++k) {
      const double dscore = weights[at(k)] * (dweights[at(k)] - mean);
      for (std::int64_t i = 0; i < k_dim; ++i) {
        const std::int64_t half = i / (k_dim / 2);
        const std::int64_t key = half == 0 ? rows[at(k)] / n_keys : rows[at(k)] % n_keys;
        const std::size_t q = at(group * k_dim + i);
        const std::size_t element =
            at(((group % heads * 2 + half) * n_keys + key) * (k_dim / 2) + i % (k_dim / 2));
        gradients.query[q] += dscore * p.sub_keys[element];
        gradients.sub_keys[element] += dscore * p.query[q];
      }
    }
  }
  return gradients;
}

TEST_P(ProductKey, GradientsFollowTheFormulaAndAccumulate) {
  for (const Shape& shape : shapes) {
    for (const bool collapsed : {false, true}) {
      SCOPED_TRACE(testing::Message() << "n_keys " << shape.n_keys << ", knn " << shape.knn
                                      << (collapsed ? ", one query for all tokens" : ""));
      const auto& [tokens, heads, knn, n_keys, k_dim] = shape;
      Problem p = problem(shape, false);
      if (collapsed) {
        for (std::size_t i = 0; i < p.query.size(); ++i) {
          p.query[i] = p.query[i % static_cast<std::size_t>(heads * k_dim)];
        }
      }
      upload_problem(p);
      forward();
      const std::vector<std::int32_t> rows = download_integers(indices_);
      const std::vector<double> weights = download(weights_);
      std::vector<double> dweights = normal(tokens * heads * knn);
      const Tensor device_dweights = upload(dtype(), {tokens, heads, knn}, dweights);
      std::vector<double> before = normal(static_cast<std::int64_t>(p.sub_keys.size()));
      const Tensor dsub_keys = upload(accumulator(), {heads, 2, n_keys, k_dim / 2}, before);
      const Tensor dquery = poisoned(dtype(), {tokens, heads, k_dim});
      product_key_backward(context(), dquery, dsub_keys, device_dweights, weights_, indices_,
                           query_, sub_keys_);
      Gradients expected = expected_gradients(p, rows, weights, dweights);
      if (knn > 1) expect_close(download(dquery), expected.query);
      for (std::size_t i = 0; i < before.size(); ++i) expected.sub_keys[i] += before[i];
      expect_close(download(dsub_keys), expected.sub_keys);
    }
  }
}

TEST_P(ProductKey, GradientsMatchFiniteDifferences) {
  if (dtype() != DType::f64) GTEST_SKIP() << "finite differences are taken in double";
  for (const Shape& shape : {Shape{5, 2, 4, 9, 6}, Shape{3, 1, 7, 7, 10}}) {
    const auto& [tokens, heads, knn, n_keys, k_dim] = shape;
    Problem p = problem(shape, false);
    upload_problem(p);
    forward();
    const std::vector<std::int32_t> rows = download_integers(indices_);
    std::vector<double> dweights = normal(tokens * heads * knn);
    const Tensor device_dweights = upload(dtype(), {tokens, heads, knn}, dweights);
    const Tensor dsub_keys = zeros(dtype(), {heads, 2, n_keys, k_dim / 2});
    const Tensor dquery = poisoned(dtype(), {tokens, heads, k_dim});
    product_key_backward(context(), dquery, dsub_keys, device_dweights, weights_, indices_, query_,
                         sub_keys_);
    const auto loss = [&](const Problem& moved) {
      const std::vector<double> weights = moved.weights(rows);
      return std::inner_product(weights.begin(), weights.end(), dweights.begin(), 0.0);
    };
    const auto by_query = [&](const std::vector<double>& query) {
      return loss({shape, query, p.sub_keys});
    };
    const auto by_keys = [&](const std::vector<double>& keys) {
      return loss({shape, p.query, keys});
    };
    expect_close(download(dquery), finite_differences(p.query, by_query), 1e-6);
    expect_close(download(dsub_keys), finite_differences(p.sub_keys, by_keys), 1e-6);
  }
}

TEST_P(ProductKey, RepeatsToTheLastBit) {
  Problem p = problem({500, 2, 8, 40, 16}, false);
  upload_problem(p);
  std::vector<double> dweights = normal(500 * 2 * 8);
  const Tensor device_dweights = upload(dtype(), {500, 2, 8}, dweights);
  const auto run = [&] {
    forward();
    const Tensor dsub_keys = zeros(accumulator(), {2, 2, 40, 8});
    const Tensor dquery = poisoned(dtype(), {500, 2, 16});
    product_key_backward(context(), dquery, dsub_keys, device_dweights, weights_, indices_, query_,
                         sub_keys_);
    std::vector<double> all = download(weights_);
    for (const Tensor& tensor : {dquery, dsub_keys}) {
      const std::vector<double> values = download(tensor);
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  };
  const std::vector<double> once = run();
  EXPECT_EQ(run(), once);
  if (context().on_cuda()) return;
  const int threads = omp_get_max_threads();
  for (const int wanted : {1, 3}) {
    omp_set_num_threads(wanted);
    reserve_scratch(product_key_scratch_bytes(Device::cpu, {500, 2, 8, 40, 16, dtype()}));
    EXPECT_EQ(run(), once);
  }
  omp_set_num_threads(threads);
}

TEST_P(ProductKey, RefusesMoreNeighboursThanKeys) {
  if (context().on_cuda()) GTEST_SKIP() << "checked by the CPU reference";
  Problem p = problem({3, 1, 5, 4, 8}, false);
  upload_problem(p);
  EXPECT_THROW(forward(), Error);
}

TEST_P(ProductKey, OneBadKeyShowsInItsHead) {
  Problem p = problem({19, 2, 7, 50, 8}, false);
  const std::size_t bad_key = (2 + 1) * 50 + 31;  // head 1, second half, key 31
  std::fill_n(p.sub_keys.begin() + bad_key * 4, 4, std::nan(""));
  upload_problem(p);
  forward();
  const std::vector<double> weights = download(weights_);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    EXPECT_EQ(std::isnan(weights[i]), i / 7 % 2 == 1) << "head " << i / 7 % 2;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ProductKey, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
