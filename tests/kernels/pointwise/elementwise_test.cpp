#include "kernels/pointwise/elementwise.h"

#include "tests/support/gradient_test.h"

namespace memengine {
namespace {

class Elementwise : public GradientTest {
 protected:
  static constexpr std::int64_t sizes[] = {1, 19, 99, 989, 65537};
};

TEST_P(Elementwise, Add) {
  for (const std::int64_t count : sizes) {
    SCOPED_TRACE(testing::Message() << count << " elements");
    auto a = normal(count);
    auto b = normal(count);
    const Tensor a_tensor = upload(dtype(), {count}, a);
    const Tensor b_tensor = upload(dtype(), {count}, b);
    const Tensor out = poisoned(dtype(), {count});
    add(context(), out, a_tensor, b_tensor);
    expect_close(download(out), sum_of(a, b));
    expect_close(download(a_tensor), a, 0.0);
    add(context(), a_tensor, a_tensor, b_tensor);
    expect_close(download(a_tensor), download(out), 0.0);
    add(context(), b_tensor, out, b_tensor);
    expect_close(download(b_tensor), sum_of(download(out), b));
  }
}

TEST_P(Elementwise, CastRoundsToNearest) {
  const bool cpu = GetParam().device == Device::cpu;
  const DType wide = cpu ? DType::f64 : DType::f32;
  const DType narrow = cpu ? DType::f32 : DType::bf16;
  for (const std::int64_t count : sizes) {
    SCOPED_TRACE(testing::Message() << count << " elements");
    auto x = normal(count);
    x[0] = 1.00390625;  // half way between the BF16 1 and 1 + 2^-7: to the even one, 1
    const Tensor wide_tensor = upload(wide, {count}, x);
    auto rounded = x;
    const Tensor expected = upload(narrow, {count}, rounded);
    const Tensor narrow_tensor = poisoned(narrow, {count});
    cast(context(), narrow_tensor, wide_tensor);
    EXPECT_EQ(download(narrow_tensor), download(expected));
    const Tensor back = poisoned(wide, {count});
    cast(context(), back, narrow_tensor);
    EXPECT_EQ(download(back), rounded);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Elementwise, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
