// The gradients of the product-key lookup against the formula and against finite differences.
#include <omp.h>

#include "tests/kernels/product_key/product_key_testing.h"

namespace memengine::product_key_testing {
namespace {

class ProductKeyGradients : public ProductKey {};

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

TEST_P(ProductKeyGradients, GradientsFollowTheFormulaAndAccumulate) {
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

TEST_P(ProductKeyGradients, GradientsMatchFiniteDifferences) {
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

TEST_P(ProductKeyGradients, RepeatsToTheLastBit) {
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

INSTANTIATE_TEST_SUITE_P(Devices, ProductKeyGradients, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine::product_key_testing
