#include "kernels/reduce.h"

#include "tests/support/op_test.h"

namespace memengine {
namespace {

class Reduce : public OpTest {};

TEST_P(Reduce, Sums) {
  for (const std::int64_t count : {1, 19, 989, 16384, 16385, 1000003}) {
    SCOPED_TRACE(testing::Message() << count << " elements");
    auto x = normal(count);
    for (double& value : x) value += 2;
    const Tensor x_tensor = upload(accumulator(), {count}, x);
    double total = 0;
    double squares = 0;
    for (const double value : x) {
      total += value;
      squares += value * value;
    }
    const Tensor out = poisoned(DType::f64, {1});
    reserve_scratch(reduce_scratch_bytes(GetParam().device, count));
    sum(context(), out, x_tensor, 0.25);
    expect_close(download(out), {0.25 * total});
    square_sum(context(), out, x_tensor);
    const auto first = download(out);
    expect_close(first, {squares});
    square_sum(context(), out, x_tensor);
    EXPECT_EQ(download(out), first) << "not deterministic";
  }
}

TEST_P(Reduce, SquareSumOfTheFirstRows) {
  constexpr std::int64_t capacity = 989;
  constexpr std::int64_t width = 33;
  for (const std::int32_t count : {0, 1, 19, 988, 989}) {
    SCOPED_TRACE(testing::Message() << count << " rows");
    auto x = normal(capacity * width);
    double squares = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (i >= static_cast<std::size_t>(count * width)) x[i] = NAN;  // must not be read
    }
    const Tensor x_tensor = upload(accumulator(), {capacity, width}, x);
    for (std::size_t i = 0; i < static_cast<std::size_t>(count * width); ++i) {
      squares += x[i] * x[i];
    }
    const Tensor out = poisoned(DType::f64, {1});
    reserve_scratch(reduce_scratch_bytes(GetParam().device, capacity * width));
    square_sum_rows(context(), out, x_tensor,
                    upload(DType::i32, {1}, std::vector<std::int32_t>{count}));
    expect_close(download(out), {squares});
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, Reduce, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
