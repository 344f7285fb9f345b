// The exponential that the CPU's kernels vectorise, against the library's.
#include "kernels/cpu/vector_math.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

namespace memengine {
namespace {

template <typename T>
void expect_exponential(T range, double tolerance) {
  std::mt19937 random(19);
  std::uniform_real_distribution<T> draw(-range, range);
  for (int i = 0; i < 98900; ++i) {
    const T x = draw(random);
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(static_cast<double>(fast_exp(x)) / exact, 1.0, tolerance) << x;
  }
  const T infinity = std::numeric_limits<T>::infinity();
  EXPECT_EQ(fast_exp(T(0)), T(1));
  EXPECT_EQ(fast_exp(-infinity), T(0));
  EXPECT_EQ(fast_exp(T(-1e30)), T(0));
  EXPECT_GT(fast_exp(infinity), T(1e38));
  EXPECT_TRUE(std::isnan(fast_exp(std::numeric_limits<T>::quiet_NaN())));
}

TEST(VectorMath, ExponentialOfFloats) {
  expect_exponential<float>(1, 2e-7);
  expect_exponential<float>(80, 2e-7);
}

TEST(VectorMath, ExponentialOfDoubles) {
  expect_exponential<double>(1, 3e-16);
  expect_exponential<double>(700, 3e-16);
}

}  // namespace
}  // namespace memengine
