#include "kernels/statistics/statistics.h"

#include <cmath>

#include "tests/support/op_test.h"

namespace memengine {
namespace {

class Statistics : public OpTest {
 protected:
  std::vector<double> measure(const Tensor& x, bool entropies = false) {
    const Tensor out = poisoned(DType::f64, {statistics_count});
    reserve_scratch(statistics_scratch_bytes(GetParam().device, x.size()));
    (entropies ? entropy_statistics : statistics)(context(), out, x);
    return download(out);
  }
};

TEST_P(Statistics, OfTensorsOfAllSizes) {
  for (const std::int64_t count : {1, 19, 989, 4096, 4097, 1000003}) {
    SCOPED_TRACE(testing::Message() << count << " elements");
    auto x = normal(count, 3.0);
    for (std::size_t i = 0; i < x.size(); i += 5) x[i] = i % 2 == 0 ? 0.0 : -0.0;
    x[static_cast<std::size_t>(integer(0, count - 1))] = -77;
    const Tensor tensor = upload(dtype(), {count}, x);
    double sum = 0, squares = 0, zeros = 0;
    for (const double value : x) {
      sum += value;
      squares += value * value;
      if (value == 0) zeros += 1;
    }
    const std::vector<double> found = measure(tensor);
    EXPECT_NEAR(found[0], sum, 1e-12 * squares);
    EXPECT_NEAR(found[1], squares, 1e-12 * squares);
    EXPECT_EQ(found[2], 77);
    EXPECT_EQ(found[3], zeros);
    EXPECT_EQ(measure(tensor), found) << "not deterministic";
  }
}

TEST_P(Statistics, WhatIsNotFiniteShows) {
  for (const double bad : {NAN, INFINITY, -INFINITY}) {
    for (const std::size_t place : {0, 5000, 9998}) {
      auto x = normal(9999);
      x[place] = bad;
      const std::vector<double> found = measure(upload(dtype(), {9999}, x));
      if (std::isnan(bad)) {
        EXPECT_TRUE(std::isnan(found[0]) && std::isnan(found[1]) && std::isnan(found[2]));
      } else {
        EXPECT_EQ(found[0], bad);
        EXPECT_EQ(found[2], INFINITY);
      }
    }
  }
}

TEST_P(Statistics, EntropiesOfRows) {
  // One element is all; all eight are equal; two are equal.
  std::vector<double> p = {1, 0, 0, 0, 0, 0, 0, 0};
  p.insert(p.end(), 8, 0.125);
  p.insert(p.end(), {0, 0.5, 0, 0, 0.5, 0, 0, 0});
  const std::vector<double> found = measure(upload(dtype(), {3, 8}, p), true);
  expect_close(found,
               {std::log(8.0) + std::log(2.0),
                std::log(8.0) * std::log(8.0) + std::log(2.0) * std::log(2.0), std::log(8.0), 1},
               1e-7);

  for (const std::int64_t rows : {1, 19, 989, 20011}) {
    const std::int64_t columns = rows == 19 ? 33 : 7;
    std::vector<double> q;
    for (std::int64_t row = 0; row < rows; ++row) {
      std::vector<double> weights = normal(columns);
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight);
      for (const double weight : weights) q.push_back(weight / total);
    }
    const Tensor tensor = upload(dtype(), {rows, columns}, q);
    double sum = 0, squares = 0, largest = 0;
    for (std::int64_t row = 0; row < rows; ++row) {
      double entropy = 0;
      for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i) {
        const double value = q[static_cast<std::size_t>(i)];
        entropy -= value * std::log(value);
      }
      sum += entropy;
      squares += entropy * entropy;
      largest = std::max(largest, entropy);
    }
    expect_close(measure(tensor, true), {sum, squares, largest, 0}, 1e-10);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Statistics, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
