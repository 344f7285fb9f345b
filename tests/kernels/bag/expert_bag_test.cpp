// PEER's experts against the formula, and their gradient against finite differences.
#include "kernels/bag/expert_bag.h"

#include <array>
#include <numbers>

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

double gelu(double a) {
  return 0.5 * a * (1 + std::erf(a / std::numbers::sqrt2));
}
double gelu_slope(double a) {
  return 0.5 * (1 + std::erf(a / std::numbers::sqrt2)) +
         a * std::exp(-0.5 * a * a) / std::sqrt(2 * std::numbers::pi);
}

class ExpertBag : public MemoryOpTest {};

TEST_P(ExpertBag, ForwardWeighsTheActivatedExperts) {
  for (const auto& [tokens, picks, v_dim] : std::vector<std::array<std::int64_t, 3>>{
           {1, 19, 1}, {19, 3, 99}, {99, 19, 64}, {7, 32, 989}}) {
    for (const std::vector<std::int32_t>& pattern : pick_patterns(tokens * picks, 700)) {
      const ExpectedRows expected(pattern);
      std::vector<double> x = normal(tokens * v_dim);
      std::vector<double> u =
          normal(expected.count() * v_dim, 1 / std::sqrt(static_cast<double>(v_dim)));
      std::vector<double> weights = normal(tokens * picks);
      const Tensor device_x = upload(dtype(), {tokens, v_dim}, x);
      const Tensor device_u = upload(dtype(), {expected.count(), v_dim}, u);
      const Tensor device_weights = upload(dtype(), {tokens, picks}, weights);
      const Tensor inverse = upload(DType::i32, {tokens, picks}, expected.inverse);
      const Tensor coefficients = poisoned(dtype(), {tokens, picks});
      const Tensor activations = poisoned(dtype(), {tokens, picks});
      expert_bag_forward(context(), coefficients, activations, device_x, device_u, inverse,
                         device_weights);
      const std::vector<double> stored = download(activations);
      std::vector<double> a(weights.size());
      std::vector<double> c(weights.size());
      for (std::int64_t pick = 0; pick < tokens * picks; ++pick) {
        for (std::int64_t i = 0; i < v_dim; ++i) {
          a[at(pick)] +=
              x[at(pick / picks * v_dim + i)] * u[at(expected.inverse[at(pick)] * v_dim + i)];
        }
        c[at(pick)] = weights[at(pick)] * gelu(stored[at(pick)]);
      }
      expect_close(stored, a);
      expect_close(download(coefficients), c);
    }
  }
}

TEST_P(ExpertBag, BackwardFollowsTheFormula) {
  for (const auto& [tokens, picks] :
       std::vector<std::array<std::int64_t, 2>>{{1, 99}, {19, 3}, {989, 19}}) {
    std::vector<double> activations = normal(tokens * picks, 2.0);
    std::vector<double> weights = normal(tokens * picks);
    std::vector<double> dcoefficients = normal(tokens * picks);
    const Tensor device_activations = upload(dtype(), {tokens, picks}, activations);
    const Tensor device_weights = upload(dtype(), {tokens, picks}, weights);
    const Tensor device_dcoefficients = upload(dtype(), {tokens, picks}, dcoefficients);
    const Tensor dweights = poisoned(dtype(), {tokens, picks});
    const Tensor dactivations = poisoned(dtype(), {tokens, picks});
    expert_bag_backward(context(), dweights, dactivations, device_dcoefficients, device_activations,
                        device_weights);
    std::vector<double> expected_dweights;
    std::vector<double> expected_dactivations;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      expected_dweights.push_back(dcoefficients[i] * gelu(activations[i]));
      expected_dactivations.push_back(dcoefficients[i] * weights[i] * gelu_slope(activations[i]));
    }
    expect_close(download(dweights), expected_dweights);
    expect_close(download(dactivations), expected_dactivations);
  }
}

TEST_P(ExpertBag, BackwardMatchesFiniteDifferences) {
  if (dtype() != DType::f64) GTEST_SKIP() << "finite differences are taken in double";
  const std::int64_t picks = 99;
  std::vector<double> activations = normal(picks);
  std::vector<double> weights = normal(picks);
  std::vector<double> dcoefficients = normal(picks);
  const Tensor dweights = poisoned(dtype(), {1, picks});
  const Tensor dactivations = poisoned(dtype(), {1, picks});
  expert_bag_backward(context(), dweights, dactivations, upload(dtype(), {1, picks}, dcoefficients),
                      upload(dtype(), {1, picks}, activations),
                      upload(dtype(), {1, picks}, weights));
  const auto loss = [&](const std::vector<double>& a, const std::vector<double>& w) {
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += dcoefficients[i] * w[i] * gelu(a[i]);
    return sum;
  };
  const auto by_weights = [&](const std::vector<double>& w) { return loss(activations, w); };
  const auto by_activations = [&](const std::vector<double>& a) { return loss(a, weights); };
  expect_close(download(dweights), finite_differences(weights, by_weights), 1e-6);
  expect_close(download(dactivations), finite_differences(activations, by_activations), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Devices, ExpertBag, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
