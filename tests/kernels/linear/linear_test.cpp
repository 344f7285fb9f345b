#include "kernels/linear/linear.h"

#include <omp.h>

#include <cmath>
#include <utility>

#include "kernels/linear/measured/measured.h"
#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

class Linear : public GradientTest {
 protected:
  struct Size {
    std::int64_t rows, inputs, outputs;
  };
  static constexpr Size sizes[] = {{5, 1, 3},     {1, 64, 989},    {3, 7, 19},     {99, 33, 1},
                                   {1, 2056, 9},  {2, 296, 131},   {4, 8, 3},      {7, 1000, 65},
                                   {8, 264, 33},  {9, 136, 70},    {16, 2824, 24}, {65, 989, 128},
                                   {989, 19, 99}, {131, 1100, 176}};
};

// c [m, n] = op(a) op(b), straight from the definition; a(i, l) and b(l, j) read the operands.
template <typename A, typename B>
std::vector<double> product(std::int64_t m, std::int64_t n, std::int64_t k, A a, B b) {
  std::vector<double> c(static_cast<std::size_t>(m * n));
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (std::int64_t l = 0; l < k; ++l) sum += a(i, l) * b(l, j);
      c[static_cast<std::size_t>(i * n + j)] = sum;
    }
  }
  return c;
}

// Element (row, column) of a matrix with so many columns.
auto element(const std::vector<double>& matrix, std::int64_t columns) {
  return [&matrix, columns](std::int64_t row, std::int64_t column) {
    return matrix[static_cast<std::size_t>(row * columns + column)];
  };
}

TEST_P(Linear, Forward) {
  for (const auto [rows, inputs, outputs] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << inputs << " -> " << outputs);
    auto x = normal(rows * inputs);
    auto weight = normal(outputs * inputs);
    auto bias = normal(outputs);
    const Tensor x_tensor = upload(dtype(), {rows, inputs}, x);
    const Tensor weight_tensor = upload(dtype(), {outputs, inputs}, weight);
    const auto at_weight = element(weight, inputs);
    auto expected = product(rows, outputs, inputs, element(x, inputs),
                            [&](std::int64_t l, std::int64_t j) { return at_weight(j, l); });
    const Tensor out = poisoned(dtype(), {rows, outputs});
    linear_forward(context(), out, x_tensor, weight_tensor, Tensor());
    expect_close(download(out), expected);

    for (const DType bias_dtype : {dtype(), DType::f32}) {
      auto rounded = bias;
      const Tensor bias_tensor = upload(bias_dtype, {outputs}, rounded);
      auto with_bias = expected;
      for (std::size_t i = 0; i < with_bias.size(); ++i) {
        with_bias[i] += rounded[i % static_cast<std::size_t>(outputs)];
      }
      const Tensor biased = poisoned(dtype(), {rows, outputs});
      linear_forward(context(), biased, x_tensor, weight_tensor, bias_tensor);
      expect_close(download(biased), with_bias);
    }
  }
}

// A text that decodes alone and one that decodes beside others get the same numbers, whatever the
// number of threads.
TEST_P(Linear, AFewRowsAreTheSameToTheBitBesideOthers) {
  if (GetParam().device != Device::cpu) GTEST_SKIP() << "is for the CPU";
  const int threads = omp_get_max_threads();
  for (const auto& [inputs, outputs] : {std::pair{136, 301}, {37, 1000}, {576, 70}}) {
    SCOPED_TRACE(testing::Message() << inputs << " -> " << outputs);
    auto x = normal(12 * inputs), weight = normal(outputs * inputs), bias = normal(outputs);
    const Tensor x_tensor = upload(dtype(), {12, inputs}, x);
    const Tensor weight_tensor = upload(dtype(), {outputs, inputs}, weight);
    const Tensor bias_tensor = upload(dtype(), {outputs}, bias);
    const Tensor together = poisoned(dtype(), {12, outputs});
    omp_set_num_threads(1);
    linear_forward(context(), together, x_tensor, weight_tensor, bias_tensor);
    const auto expected = download(together);
    omp_set_num_threads(3);
    for (const std::int64_t rows : {1, 2, 3, 4, 7}) {
      for (std::int64_t first = 0; first + rows <= 12; first += rows) {
        const Tensor apart = poisoned(dtype(), {rows, outputs});
        linear_forward(context(), apart, x_tensor.rows(first, rows), weight_tensor, bias_tensor);
        const auto from = expected.begin() + first * outputs;
        EXPECT_EQ(download(apart), std::vector<double>(from, from + rows * outputs))
            << rows << " rows from row " << first;
      }
    }
    omp_set_num_threads(threads);
  }
}

// Every element of a product is then the true one, rounded once.
TEST_P(Linear, SumsInDouble) {
  if (GetParam().device != Device::cuda || dtype() != DType::f32) {
    GTEST_SKIP() << "is for FP32 on a GPU";
  }
  Context in_double = context();
  in_double.sums_in_double = true;
  const auto expect_rounded_once = [&](Tensor tensor, const std::vector<double>& expected) {
    const auto values = download(tensor);
    ASSERT_EQ(values.size(), expected.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
      EXPECT_NEAR(values[i], expected[i], std::abs(expected[i]) * 0x1p-24 + 1e-13) << i;
    }
  };
  for (const auto [rows, inputs, outputs] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << inputs << " -> " << outputs);
    auto x = normal(rows * inputs), weight = normal(outputs * inputs), bias = normal(outputs);
    auto dout = normal(rows * outputs), dx = normal(rows * inputs);
    auto dweight = normal(outputs * inputs);
    const Tensor x_tensor = upload(dtype(), {rows, inputs}, x);
    const Tensor weight_tensor = upload(dtype(), {outputs, inputs}, weight);
    const Tensor bias_tensor = upload(dtype(), {outputs}, bias);
    const Tensor dout_tensor = upload(dtype(), {rows, outputs}, dout);
    const Tensor dx_tensor = upload(dtype(), {rows, inputs}, dx);
    const Tensor dweight_tensor = upload(dtype(), {outputs, inputs}, dweight);
    const auto at_weight = element(weight, inputs), at_dout = element(dout, outputs);

    auto expected = product(rows, outputs, inputs, element(x, inputs),
                            [&](std::int64_t l, std::int64_t j) { return at_weight(j, l); });
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += bias[i % bias.size()];
    const Tensor out = poisoned(dtype(), {rows, outputs});
    linear_forward(in_double, out, x_tensor, weight_tensor, bias_tensor);
    expect_rounded_once(out, expected);

    linear_backward_input(in_double, dx_tensor, dout_tensor, weight_tensor, true);
    expect_rounded_once(dx_tensor, sum_of(product(rows, inputs, outputs, at_dout, at_weight), dx));

    linear_backward_weight(in_double, dweight_tensor, Tensor(), dout_tensor, x_tensor);
    const auto transposed = [&](std::int64_t o, std::int64_t n) { return at_dout(n, o); };
    expect_rounded_once(
        dweight_tensor,
        sum_of(product(outputs, inputs, rows, transposed, element(x, inputs)), dweight));
  }
}

TEST_P(Linear, BackwardInput) {
  for (const auto [rows, inputs, outputs] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << inputs << " -> " << outputs);
    auto dout = normal(rows * outputs);
    auto weight = normal(outputs * inputs);
    auto before = normal(rows * inputs);
    const Tensor dout_tensor = upload(dtype(), {rows, outputs}, dout);
    const Tensor weight_tensor = upload(dtype(), {outputs, inputs}, weight);
    const auto expected =
        product(rows, inputs, outputs, element(dout, outputs), element(weight, inputs));
    const Tensor dx = poisoned(dtype(), {rows, inputs});
    linear_backward_input(context(), dx, dout_tensor, weight_tensor, false);
    expect_close(download(dx), expected);
    const Tensor added = upload(dtype(), {rows, inputs}, before);
    linear_backward_input(context(), added, dout_tensor, weight_tensor, true);
    expect_close(download(added), sum_of(expected, before));
  }
}

TEST_P(Linear, BackwardWeightAccumulates) {
  for (const auto [rows, inputs, outputs] : sizes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << inputs << " -> " << outputs);
    auto dout = normal(rows * outputs);
    auto x = normal(rows * inputs);
    auto dweight = normal(outputs * inputs);
    auto dbias = normal(outputs);
    // Off centre, so that the sums over rows do not cancel to rounding errors.
    for (double& value : dout) value += 1;
    for (double& value : x) value += 1;
    const Tensor dout_tensor = upload(dtype(), {rows, outputs}, dout);
    const Tensor x_tensor = upload(dtype(), {rows, inputs}, x);
    const Tensor dweight_tensor = upload(accumulator(), {outputs, inputs}, dweight);
    const Tensor dbias_tensor = upload(accumulator(), {outputs}, dbias);
    const auto at_dout = element(dout, outputs);
    const auto transposed = [&](std::int64_t o, std::int64_t n) { return at_dout(n, o); };
    const auto weight_part = product(outputs, inputs, rows, transposed, element(x, inputs));
    const auto bias_part =
        product(outputs, 1, rows, transposed, [](std::int64_t, std::int64_t) { return 1.0; });
    reserve_scratch(linear_scratch_bytes(GetParam().device, rows, outputs));
    linear_backward_weight(context(), dweight_tensor, dbias_tensor, dout_tensor, x_tensor);
    expect_close(download(dweight_tensor), sum_of(weight_part, dweight));
    expect_close(download(dbias_tensor), sum_of(bias_part, dbias));

    linear_backward_weight(context(), dweight_tensor, Tensor(), dout_tensor, x_tensor);
    expect_close(download(dweight_tensor), sum_of(weight_part, sum_of(weight_part, dweight)));

    const Tensor written = poisoned(accumulator(), {outputs, inputs});
    linear_backward_weight(context(), written, Tensor(), dout_tensor, x_tensor, false);
    expect_close(download(written), weight_part);
  }
}

TEST_P(Linear, NoRowsHaveNoWeightGradient) {
  const Tensor written = poisoned(accumulator(), {3, 5});
  linear_backward_weight(context(), written, Tensor(), poisoned(dtype(), {0, 3}),
                         poisoned(dtype(), {0, 5}), false);
  EXPECT_EQ(download(written), std::vector<double>(15, 0));
}

// Large enough for its algorithm to be measured.
TEST_P(Linear, AMeasuredChoiceGivesTheSameBits) {
  if (GetParam().device != Device::cuda || dtype() != DType::bf16) {
    GTEST_SKIP() << "only BF16 products of a GPU are measured";
  }
  constexpr std::int64_t rows = 2048, inputs = 1088, outputs = 1536;
  auto x_values = normal(rows * inputs);
  auto weight_values = normal(outputs * inputs);
  auto dout_values = normal(rows * outputs);
  const Tensor x = upload(dtype(), {rows, inputs}, x_values);
  const Tensor weight = upload(dtype(), {outputs, inputs}, weight_values);
  const Tensor dout = upload(dtype(), {rows, outputs}, dout_values);
  auto before = normal(outputs * inputs);
  std::vector<std::vector<double>> results[2];
  for (const bool measured : {false, true}) {
    measure_products(measured);
    const Tensor out = poisoned(dtype(), {rows, outputs});
    const Tensor dx = poisoned(dtype(), {rows, inputs});
    const Tensor dweight = upload(accumulator(), {outputs, inputs}, before);
    linear_forward(context(), out, x, weight, Tensor());
    linear_backward_input(context(), dx, dout, weight, false);
    linear_backward_weight(context(), dweight, Tensor(), dout, x, true);
    results[measured ? 1 : 0] = {download(out), download(dx), download(dweight)};
  }
  measure_products(false);
  EXPECT_EQ(results[0], results[1]);
}

TEST(LinearErrors, ShapesThatDoNotFitAreNamed) {
  Runtime runtime(Device::cpu);
  float memory[64] = {};
  const Tensor x(memory, DType::f32, {2, 3});
  const Tensor weight(memory, DType::f32, {4, 3});
  const Tensor out(memory, DType::f32, {2, 5});
  EXPECT_THROW(linear_forward(runtime.context(), out, x, weight, Tensor()), Error);
  const Tensor half(memory, DType::bf16, {2, 4});
  EXPECT_THROW(linear_forward(runtime.context(), half, x, weight, Tensor()), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, Linear, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
