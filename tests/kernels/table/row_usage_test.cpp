// The usage figures, from uniform use to one row that gets every pick.
#include "kernels/table/row_usage.h"

#include <map>

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

class RowUsage : public MemoryOpTest {
 protected:
  double divergence(const std::vector<std::int32_t>& picks, std::int64_t table_rows) {
    const Tensor kl = poisoned(DType::f64, {1});
    usage_divergence(context(), kl, upload_rows(ExpectedRows(picks), 2), table_rows);
    return download(kl)[0];
  }
};

TEST_P(RowUsage, DivergenceFollowsTheFormula) {
  for (const std::int64_t count : {1, 19, 99, 989, 20011}) {
    for (const std::int64_t rows : {1, 19, 1000, 1 << 20}) {
      for (const std::vector<std::int32_t>& picks : pick_patterns(count, rows)) {
        std::map<std::int32_t, double> uses;
        for (const std::int32_t pick : picks) ++uses[pick];
        double expected = 0;
        for (const auto& [row, used] : uses) {
          const double share = used / static_cast<double>(count);
          expected += share * std::log(share * static_cast<double>(rows));
        }
        EXPECT_NEAR(divergence(picks, rows), expected, 1e-11 * (1 + expected));
      }
    }
  }
}

TEST_P(RowUsage, DivergenceSpansZeroToLogRows) {
  std::vector<std::int32_t> every_row(989);
  std::iota(every_row.begin(), every_row.end(), 0);
  EXPECT_NEAR(divergence(every_row, 989), 0, 1e-12);
  EXPECT_NEAR(divergence(std::vector<std::int32_t>(500, 17), 989), std::log(989.0), 1e-12);
}

TEST_P(RowUsage, HistogramAddsUpOverBatches) {
  const std::int64_t rows = 300;
  std::vector<std::int32_t> expected(at(rows), 0);
  const Tensor histogram = zeros(DType::i32, {rows});
  for (const std::int64_t count : {1, 99, 5003}) {
    for (const std::vector<std::int32_t>& picks : pick_patterns(count, rows)) {
      for (const std::int32_t pick : picks) ++expected[at(pick)];
      count_usage(context(), histogram, upload_rows(ExpectedRows(picks), 2));
    }
  }
  EXPECT_EQ(download_integers(histogram), expected);
}

INSTANTIATE_TEST_SUITE_P(Devices, RowUsage, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
