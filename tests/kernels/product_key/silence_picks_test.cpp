// Silencing against two lines of reference, with either list and with both.
#include "kernels/product_key/silence_picks.h"

#include "tests/support/op_test.h"

namespace memengine {
namespace {

class SilencePicks : public OpTest {};

TEST_P(SilencePicks, OnlyWhatIsListedLosesItsWeight) {
  struct Size {
    std::int64_t tokens, heads, knn, rows;
  };
  for (const auto& [tokens, heads, knn, rows] :
       {Size{1, 1, 1, 1}, {3, 2, 5, 19}, {99, 4, 32, 989}, {257, 3, 7, 100}}) {
    for (const int lists : {1, 2, 3}) {
      SCOPED_TRACE(testing::Message() << tokens << " tokens, lists " << lists);
      const std::int64_t picks = tokens * heads * knn;
      std::vector<double> weights = normal(picks), indices, silent_heads, silent_rows;
      for (std::int64_t i = 0; i < picks; ++i) {
        indices.push_back(static_cast<double>(integer(0, rows - 1)));
      }
      for (std::int64_t i = 0; i < heads; ++i) {
        silent_heads.push_back(static_cast<double>(integer(0, 1)));
      }
      for (std::int64_t i = 0; i < rows; ++i) {
        silent_rows.push_back(static_cast<double>(integer(0, 3) == 0 ? integer(1, 255) : 0));
      }
      const Tensor w = upload(dtype(), {tokens, heads, knn}, weights);
      const Tensor i = upload(DType::i32, {tokens, heads, knn}, indices);
      const Tensor h = upload(DType::u8, {heads}, silent_heads);
      const Tensor r = upload(DType::u8, {rows}, silent_rows);
      silence_picks(context(), w, i, (lists & 1) != 0 ? h : Tensor(),
                    (lists & 2) != 0 ? r : Tensor());
      std::vector<double> expected = weights;
      for (std::int64_t pick = 0; pick < picks; ++pick) {
        const auto at = static_cast<std::size_t>(pick);
        const auto head = static_cast<std::size_t>(pick / knn % heads);
        const bool by_head = (lists & 1) != 0 && silent_heads[head] != 0;
        const bool by_row =
            (lists & 2) != 0 && silent_rows[static_cast<std::size_t>(indices[at])] != 0;
        if (by_head || by_row) expected[at] = 0;
      }
      EXPECT_EQ(download(w), expected);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, SilencePicks, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
