// exp and the functions built on it, written so that the compiler vectorises loops over them.
//
// exp(x) = 2^k * e^r with k = round(x / log 2) and |r| <= log(2) / 2; e^r is a polynomial (Taylor,
// degree 7 for floats and 13 for doubles: below one unit in the last place) and 2^k is put into the
// exponent bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace memengine {

// Below -87 gives 0, above 88 gives e^88; NaN stays NaN.
inline float fast_exp(float x) {
  const float bounded = x > 88.0F ? 88.0F : (x < -87.0F ? -87.0F : x);
  // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const float rounder = 12582912.0F;
  const float shifted = bounded * 1.44269504F + rounder;
  const float k = shifted - rounder;
  // log 2 in two parts, so that r keeps all its bits.
  const float r = (bounded - k * 0.693359375F) + k * 2.12194440e-4F;
  float sum = 1.98412698e-4F;
  sum = sum * r + 1.38888889e-3F;
  sum = sum * r + 8.33333333e-3F;
  sum = sum * r + 4.16666667e-2F;
  sum = sum * r + 1.66666667e-1F;
  sum = sum * r + 0.5F;
  sum = sum * r + 1.0F;
  sum = sum * r + 1.0F;
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) + 127U;
  const float result = sum * std::bit_cast<float>(exponent << 23);
  return x < -87.0F ? 0.0F : result;
}

// Below -708 gives 0, above 709 gives e^709; NaN stays NaN.
inline double fast_exp(double x) {
  const double bounded = x > 709.0 ? 709.0 : (x < -708.0 ? -708.0 : x);
  // Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits.
  const double rounder = 6755399441055744.0;
  const double shifted = bounded * 1.4426950408889634 + rounder;
  const double k = shifted - rounder;
  const double r = (bounded - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
  double sum = 1.0 / 6227020800.0;
  sum = sum * r + 1.0 / 479001600.0;
  sum = sum * r + 1.0 / 39916800.0;
  sum = sum * r + 1.0 / 3628800.0;
  sum = sum * r + 1.0 / 362880.0;
  sum = sum * r + 1.0 / 40320.0;
  sum = sum * r + 1.0 / 5040.0;
  sum = sum * r + 1.0 / 720.0;
  sum = sum * r + 1.0 / 120.0;
  sum = sum * r + 1.0 / 24.0;
  sum = sum * r + 1.0 / 6.0;
  sum = sum * r + 0.5;
  sum = sum * r + 1.0;
  sum = sum * r + 1.0;
  const std::uint64_t exponent = std::bit_cast<std::uint64_t>(shifted) + 1023U;
  const double result = sum * std::bit_cast<double>(exponent << 52);
  return x < -708.0 ? 0.0 : result;
}

template <typename T>
T sigmoid(T x) {
  return T(1) / (T(1) + fast_exp(-x));
}

}  // namespace memengine
