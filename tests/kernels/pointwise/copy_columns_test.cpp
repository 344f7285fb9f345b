#include "kernels/pointwise/copy_columns.h"

#include "tests/support/op_test.h"

namespace memengine {
namespace {

class CopyColumns : public OpTest {};

TEST_P(CopyColumns, TakesSomeAndLeavesTheOthers) {
  struct Size {
    std::int64_t rows, from_columns, to_columns, from_first, to_first, columns;
  };
  for (const auto [rows, from_columns, to_columns, from_first, to_first, columns] :
       {Size{1, 1, 1, 0, 0, 1}, Size{19, 12, 5, 7, 0, 5}, Size{99, 64, 96, 0, 32, 64},
        Size{989, 7, 19, 2, 11, 3}, Size{3, 4, 4, 1, 1, 0}}) {
    SCOPED_TRACE(testing::Message() << rows << " rows, " << columns << " columns");
    auto x = normal(rows * from_columns);
    auto out = normal(rows * to_columns);
    const Tensor x_tensor = upload(dtype(), {rows, from_columns}, x);
    const Tensor out_tensor = upload(dtype(), {rows, to_columns}, out);
    copy_columns(context(), out_tensor, to_first, x_tensor, from_first, columns);
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t c = 0; c < columns; ++c) {
        out[static_cast<std::size_t>(n * to_columns + to_first + c)] =
            x[static_cast<std::size_t>(n * from_columns + from_first + c)];
      }
    }
    expect_close(download(out_tensor), out, 0.0);
  }
}

TEST_P(CopyColumns, RefusesColumnsThatAreNotThere) {
  const Tensor x = poisoned(dtype(), {2, 3});
  EXPECT_THROW(copy_columns(context(), poisoned(dtype(), {2, 3}), 1, x, 0, 3), Error);
  EXPECT_THROW(copy_columns(context(), poisoned(dtype(), {2, 4}), 0, x, 1, 3), Error);
  EXPECT_THROW(copy_columns(context(), poisoned(dtype(), {3, 3}), 0, x, 0, 3), Error);
}

INSTANTIATE_TEST_SUITE_P(Devices, CopyColumns, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
