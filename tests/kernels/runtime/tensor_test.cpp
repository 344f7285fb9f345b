// Views: shapes, slices and reshapes are arithmetic on an address, and every mistake is refused.
#include "kernels/runtime/tensor.h"

#include <gtest/gtest.h>

#include <numeric>
#include <string>
#include <vector>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

template <typename Call>
std::string internal_error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::internal);
    return error.what();
  }
  return "no error";
}

TEST(Tensor, CountsElementsAndBytesOfEveryDtype) {
  int memory = 0;
  const std::pair<DType, std::int64_t> widths[] = {
      {DType::f64, 8}, {DType::f32, 4}, {DType::bf16, 2}, {DType::i32, 4}, {DType::u8, 1}};
  for (const auto& [dtype, width] : widths) {
    const Tensor x(&memory, dtype, {3, 5, 7});
    EXPECT_EQ(x.rank(), 3);
    EXPECT_EQ(x.dim(0), 3);
    EXPECT_EQ(x.dim(2), 7);
    EXPECT_EQ(x.size(), 105);
    EXPECT_EQ(x.bytes(), 105 * width) << dtype_name(dtype);
    EXPECT_EQ(x.shape_text(), "[3, 5, 7]");
  }
  EXPECT_EQ(Tensor(&memory, DType::f32, {4, 0}).size(), 0);
  EXPECT_EQ(Tensor(&memory, DType::f32, {}).size(), 1) << "a scalar";
  EXPECT_TRUE(Tensor().empty());
  EXPECT_FALSE(Tensor(&memory, DType::f32, {0}).empty()) << "an argument without elements";
}

TEST(Tensor, RowsAndReshapesViewTheSameMemory) {
  std::vector<float> numbers(60);
  std::iota(numbers.begin(), numbers.end(), 0.0F);
  const Tensor x(numbers.data(), DType::f32, {5, 3, 4});
  const Tensor middle = x.rows(2, 2);
  EXPECT_EQ(middle.shape_text(), "[2, 3, 4]");
  EXPECT_EQ(middle.as<float>()[0], 24);
  const Tensor flat = middle.reshape({24});
  EXPECT_EQ(flat.rows(23, 1).as<float>()[0], 47);
  flat.as<float>()[0] = -1;
  EXPECT_EQ(numbers[24], -1);
  EXPECT_EQ(x.rows(5, 0).size(), 0) << "nothing, at the end";
  EXPECT_EQ(Tensor(numbers.data(), DType::f32, {0, 4}).rows(0, 0).data(), numbers.data());
}

TEST(Tensor, RefusesWhatItIsNot) {
  std::vector<float> numbers(12);
  const Tensor x(numbers.data(), DType::f32, {3, 4});
  EXPECT_EQ(internal_error_of([&] { x.as<double>(); }), "a tensor [3, 4] of f32 was read as f64");
  EXPECT_EQ(internal_error_of([&] { x.reshape({5, 2}); }), "cannot view [3, 4] as [5, 2]");
  EXPECT_EQ(internal_error_of([&] { x.rows(2, 2); }), "rows 2..4 of a tensor [3, 4]");
  EXPECT_NE(internal_error_of([&] { x.rows(-1, 1); }), "no error");
  EXPECT_NE(internal_error_of([&] { x.rows(1, -1); }), "no error");
  EXPECT_EQ(internal_error_of([&] {
              Tensor(numbers.data(), DType::f32, {1, 1, 1, 2, 6});
            }),
            "a tensor has at most 4 axes");
}

}  // namespace
}  // namespace memengine
