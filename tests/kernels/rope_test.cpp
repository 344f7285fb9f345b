#include "kernels/rope.h"

#include <complex>

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

class Rope : public GradientTest {
 protected:
  struct Size {
    std::int64_t tokens, all_heads, rotated_heads, head_dim;
    double theta;
  };
  static constexpr Size sizes[] = {{1, 3, 2, 2, 1e4},
                                   {19, 6, 4, 8, 1e4},
                                   {99, 12, 8, 38, 5e5},
                                   {989, 5, 4, 32, 1e4},
                                   {7, 3, 3, 128, 5e5}};
};

// Pairs as complex numbers: turning by an angle is a product with e^(i angle).
std::vector<double> rotated(std::vector<double> x, const std::vector<std::int32_t>& positions,
                            std::int64_t all_heads, std::int64_t rotated_heads,
                            std::int64_t head_dim, double theta, double direction) {
  std::size_t at = 0;
  for (const std::int32_t position : positions) {
    for (std::int64_t head = 0; head < all_heads; ++head) {
      for (std::int64_t i = 0; i < head_dim; i += 2, at += 2) {
        if (head >= rotated_heads) continue;
        // In FP32, as the references' tables are.
        const float frequency =
            1.0F / std::pow(static_cast<float>(theta),
                            static_cast<float>(i) / static_cast<float>(head_dim));
        const float angle = static_cast<float>(position) * frequency;
        const std::complex<double> turn(std::cos(angle), direction * std::sin(angle));
        const std::complex<double> turned = std::complex<double>(x[at], x[at + 1]) * turn;
        x[at] = turned.real();
        x[at + 1] = turned.imag();
      }
    }
  }
  return x;
}

TEST_P(Rope, RotatesAndRotatesBack) {
  for (const auto [tokens, all_heads, rotated_heads, head_dim, theta] : sizes) {
    SCOPED_TRACE(testing::Message() << tokens << " tokens, head_dim " << head_dim);
    std::vector<std::int32_t> positions;
    for (std::int64_t n = 0; n < tokens; ++n) {
      positions.push_back(n == 0 ? 4095 : static_cast<std::int32_t>(integer(0, 4095)));
    }
    const Tensor position_tensor = upload(DType::i32, {tokens}, positions);
    for (const double direction : {1.0, -1.0}) {
      auto x = normal(tokens * all_heads * head_dim);
      const Tensor x_tensor = upload(dtype(), {tokens, all_heads, head_dim}, x);
      if (direction > 0)
        rope_forward(context(), x_tensor, position_tensor, rotated_heads, theta);
      else
        rope_backward(context(), x_tensor, position_tensor, rotated_heads, theta);
      expect_close(download(x_tensor),
                   rotated(x, positions, all_heads, rotated_heads, head_dim, theta, direction));
    }
  }
}

TEST_P(Rope, PositionZeroAndValueHeadsStay) {
  auto x = normal(2 * 3 * 16);
  const Tensor x_tensor = upload(dtype(), {2, 3, 16}, x);
  const Tensor positions = upload(DType::i32, {2}, std::vector<std::int32_t>{0, 5});
  rope_forward(context(), x_tensor, positions, 2, 1e4);
  const auto after = download(x_tensor);
  for (std::size_t i = 0; i < 48; ++i) EXPECT_EQ(after[i], x[i]);        // token 0
  for (std::size_t i = 48 + 32; i < 96; ++i) EXPECT_EQ(after[i], x[i]);  // token 1, head 2
}

// Numbers of transformers 5.24: head_dim 8, theta 100, factor 8, original length 16.
TEST(RopeFrequency, IsScaledAsTheModelWasTrained) {
  const RopeScaling llama3{RopeScalingType::llama3, 8, 1, 4, 16};
  const double expected[] = {0.57605636, 0.03952847, 0.0125, 0.0039528473};
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(rope_frequency({100, llama3}, i, 8), expected[i], 1e-7);
  }
  const RopeScaling linear{RopeScalingType::linear, 4};
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(rope_frequency({100, linear}, i, 8), rope_frequency(100, i, 8) / 4);
  }
}

TEST_P(Rope, ScaledAnglesTurnAsSlowerPositions) {
  // Dividing all frequencies by 4 is dividing positions by 4.
  auto x = normal(3 * 2 * 16);
  const Tensor scaled = upload(dtype(), {3, 2, 16}, x);
  const Tensor plain = upload(dtype(), {3, 2, 16}, x);
  const Tensor far = upload(DType::i32, {3}, std::vector<std::int32_t>{4, 8, 400});
  const Tensor near = upload(DType::i32, {3}, std::vector<std::int32_t>{1, 2, 100});
  rope_forward(context(), scaled, far, 2, {1e4, {RopeScalingType::linear, 4}});
  rope_forward(context(), plain, near, 2, 1e4);
  expect_close(download(scaled), download(plain));
  rope_backward(context(), scaled, far, 2, {1e4, {RopeScalingType::linear, 4}});
  // cos^2 + sin^2 of two numbers in FP32 is not exactly 1, in double neither.
  expect_close(download(scaled), x, std::max(4 * tolerance(), 5e-7));
}

TEST(RopeErrors, OddHeadDim) {
  Runtime runtime(Device::cpu);
  float memory[6] = {};
  std::int32_t position[1] = {};
  EXPECT_THROW(rope_forward(runtime.context(), Tensor(memory, DType::f32, {1, 2, 3}),
                            Tensor(position, DType::i32, {1}), 1, 1e4),
               Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, Rope, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
