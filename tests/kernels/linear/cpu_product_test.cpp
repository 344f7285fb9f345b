// The CPU's own product of many rows, on every build, also where OpenBLAS is used in its place.
#include "kernels/linear/cpu_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "tests/support/fresh_seed.h"

namespace memengine {
namespace {

struct ProductCase {
  std::int64_t m, n, k;
};

// Less than a tile, a tile and a number, edges on both sides, blocks of k and of rows and one more.
constexpr ProductCase product_cases[] = {{1, 1, 1},    {5, 3, 7},     {6, 64, 19},  {13, 65, 40},
                                         {96, 16, 99}, {97, 176, 64}, {203, 48, 3}, {31, 33, 512},
                                         {8, 70, 513}, {19, 130, 989}};

template <typename T>
struct Operands {
  std::vector<T> a, b, c;

  Operands(const ProductCase& size, std::mt19937_64& random) {
    std::normal_distribution<double> draw;
    const auto fill = [&](std::vector<T>& values, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) values.push_back(static_cast<T>(draw(random)));
    };
    fill(a, size.m * size.k);
    fill(b, size.k * size.n);
    fill(c, size.m * size.n);
  }
};

template <typename T>
std::vector<T> own_product(const ProductCase& size, bool across, Transpose transpose, bool add,
                           const Operands<T>& operands) {
  std::vector<T> c = operands.c;
  const many_rows::Left<T> left{operands.a.data(), across ? 1 : size.k, across ? size.m : 1};
  many_rows::product(c.data(), size.n, left, transpose, operands.b.data(),
                     transpose == Transpose::yes ? size.k : size.n, size.m, size.n, size.k, add);
  return c;
}

template <typename T>
void expect_products(double bound) {
  const FreshSeed seed;
  std::mt19937_64 random(seed.value);
  for (const ProductCase& size : product_cases) {
    const auto& [m, n, k] = size;
    const Operands<T> operands(size, random);
    for (const bool across : {false, true}) {
      for (const Transpose transpose : {Transpose::no, Transpose::yes}) {
        for (const bool add : {false, true}) {
          SCOPED_TRACE(testing::Message()
                       << m << " x " << k << " x " << n << ", A across " << across << ", B across "
                       << (transpose == Transpose::yes) << ", added " << add);
          const std::vector<T> c = own_product(size, across, transpose, add, operands);
          double difference = 0, norm = 0;
          for (std::int64_t i = 0; i < m; ++i) {
            for (std::int64_t j = 0; j < n; ++j) {
              const auto at = static_cast<std::size_t>(i * n + j);
              double sum = add ? operands.c[at] : 0;
              for (std::int64_t l = 0; l < k; ++l) {
                const auto of_a = static_cast<std::size_t>(across ? l * m + i : i * k + l);
                const auto of_b =
                    static_cast<std::size_t>(transpose == Transpose::yes ? j * k + l : l * n + j);
                sum += static_cast<double>(operands.a[of_a]) * operands.b[of_b];
              }
              difference += (c[at] - sum) * (c[at] - sum);
              norm += sum * sum;
            }
          }
          EXPECT_LE(std::sqrt(difference / norm), bound);
        }
      }
    }
  }
}

TEST(CpuProduct, IsTheProduct) {
  expect_products<float>(1e-5);
  expect_products<double>(1e-12);
}

// A share of the rows or of the columns gets what it has in the whole.
TEST(CpuProduct, ASharesNumbersAreThoseOfTheWhole) {
  const FreshSeed seed;
  std::mt19937_64 random(seed.value);
  const ProductCase size{101, 200, 700};
  const auto& [m, n, k] = size;
  const Operands<float> operands(size, random);
  const std::vector<float> whole = own_product(size, false, Transpose::no, true, operands);
  std::vector<float> parts = operands.c;
  for (const auto& [first_row, rows] : {std::pair{0, 37}, {37, 64}}) {
    for (const auto& [first_column, columns] : {std::pair{0, 48}, {48, 152}}) {
      const many_rows::Left<float> left{operands.a.data() + first_row * k, k, 1};
      many_rows::product(parts.data() + first_row * n + first_column, n, left, Transpose::no,
                         operands.b.data() + first_column, n, std::int64_t{rows},
                         std::int64_t{columns}, k, true);
    }
  }
  EXPECT_EQ(parts, whole);
}

}  // namespace
}  // namespace memengine
