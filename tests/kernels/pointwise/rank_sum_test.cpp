// Sums in the order of ranks: every rank's number once, added up in double, whoever adds up.
#include "kernels/pointwise/rank_sum.h"

#include "tests/support/op_test.h"

namespace memengine {
namespace {

class RankSum : public OpTest {};

TEST_P(RankSum, IsTheSameOnEveryRank) {
  if (dtype() == DType::bf16) GTEST_SKIP() << "gradients are f32";
  for (const std::int64_t ranks : {2, 3, 8}) {
    for (const std::int64_t count : {1, 7, 64, 5000}) {
      const std::int64_t stride = (count + 63) / 64 * 64;
      std::vector<std::vector<double>> of;
      std::vector<double> expected(static_cast<std::size_t>(count));
      for (std::int64_t r = 0; r < ranks; ++r) {
        of.push_back(normal(count));
        upload(dtype(), {count}, of.back());  // rounds
        for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += of.back()[i];
      }
      if (dtype() == DType::f32) {
        for (double& value : expected) value = static_cast<double>(static_cast<float>(value));
      }
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        std::vector<double> others;
        for (std::int64_t r = 0; r < ranks; ++r) {
          if (r == rank) continue;
          const std::vector<double>& theirs = of[static_cast<std::size_t>(r)];
          others.insert(others.end(), theirs.begin(), theirs.end());
          others.resize(others.size() + static_cast<std::size_t>(stride - count), NAN);
        }
        std::vector<double> own = of[static_cast<std::size_t>(rank)];
        const Tensor values = upload(dtype(), {count}, own);
        const Tensor rows = upload(dtype(), {ranks - 1, stride}, others);
        add_in_rank_order(context(), values, rows, static_cast<int>(rank));
        EXPECT_EQ(download(values), expected) << "rank " << rank << " of " << ranks;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, RankSum, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
