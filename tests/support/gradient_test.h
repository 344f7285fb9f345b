// Gradients of ops of any size, checked by central differences at randomly drawn coordinates.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tests/support/op_test.h"

namespace memengine {

// What a difference is taken of is added up in long double: the rounding of a sum of 200,000 terms
// in double, over a step of 1e-5, is as large as the error that a gradient may have (measured:
// above 1e-6 of it in one draw of six of batch normalisation's largest case, 1.4e-8 at most so).
using Sum = long double;

// <a, b>
inline double inner_product(const std::vector<double>& a, const std::vector<double>& b) {
  Sum sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += Sum{a[i]} * b[i];
  return static_cast<double>(sum);
}

inline std::vector<double> sum_of(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

class GradientTest : public OpTest {
 protected:
  // `analytic` is what the op gave as d scalar(x) / dx; `scalar` computes in double. Every
  // coordinate is tried when there are at most `samples`. Relative error at most 1e-6 in f64.
  template <typename Scalar>
  void expect_gradient(const std::vector<double>& analytic, std::vector<double> x, Scalar scalar,
                       std::size_t samples = 24) {
    ASSERT_EQ(analytic.size(), x.size());
    constexpr double step = 1e-5;
    std::vector<double> picked;
    std::vector<double> differences;
    for (std::size_t s = 0; s < std::min(samples, x.size()); ++s) {
      const std::size_t i =
          x.size() <= samples
              ? s
              : static_cast<std::size_t>(integer(0, static_cast<std::int64_t>(x.size()) - 1));
      const double kept = x[i];
      x[i] = kept + step;
      const double above = scalar(x);
      x[i] = kept - step;
      const double below = scalar(x);
      x[i] = kept;
      picked.push_back(analytic[i]);
      differences.push_back((above - below) / (2 * step));
    }
    expect_close(picked, differences, std::max(1e-6, tolerance()));
  }
};

}  // namespace memengine
