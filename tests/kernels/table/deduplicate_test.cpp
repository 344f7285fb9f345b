// De-duplication against a plain stable sort: every pattern of use, tables from one row to 2^31.
#include "kernels/table/deduplicate.h"

#include <omp.h>

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

class Deduplicate : public MemoryOpTest {
 protected:
  UniqueRows run(const std::vector<std::int32_t>& picks, std::int64_t table_rows) {
    const std::int64_t count = static_cast<std::int64_t>(picks.size());
    const UniqueRows unique = poisoned_rows(count, std::min(count, table_rows));
    const Tensor device_picks = upload(DType::i32, {count}, picks);
    reserve_scratch(deduplicate_scratch_bytes(context().device, count, table_rows));
    deduplicate(context(), unique, device_picks, table_rows);
    return unique;
  }

  void expect_rows(const UniqueRows& unique, const ExpectedRows& expected) {
    const auto first = [&](Tensor tensor, std::int64_t count) {
      return download_integers(tensor.rows(0, count));
    };
    ASSERT_EQ(download_integers(unique.count)[0], expected.count());
    EXPECT_EQ(first(unique.rows, expected.count()), expected.rows);
    EXPECT_EQ(first(unique.offsets, expected.count() + 1), expected.offsets);
    EXPECT_EQ(download_integers(unique.order), expected.order);
    EXPECT_EQ(download_integers(unique.inverse), expected.inverse);
    EXPECT_EQ(download_integers(unique.places), expected.places);
  }
};

TEST_P(Deduplicate, MatchesAStableSort) {
  for (const std::int64_t count : {1, 2, 19, 99, 989, 50021}) {
    for (const std::int64_t rows : {1, 2, 3, 19, 257, 2048, 4097, 1 << 20}) {
      for (const std::vector<std::int32_t>& picks : pick_patterns(count, rows)) {
        SCOPED_TRACE(testing::Message() << count << " picks of " << rows << " rows");
        expect_rows(run(picks, rows), ExpectedRows(picks));
      }
    }
  }
}

TEST_P(Deduplicate, HoldsRowIdsUpToTheLargestInteger) {
  const std::int64_t rows = 0x7fffffff;
  for (std::vector<std::int32_t> picks : pick_patterns(989, rows)) {
    picks.push_back(0x7ffffffe);
    picks.push_back(0);
    picks.push_back(0x7ffffffe);
    expect_rows(run(picks, rows), ExpectedRows(picks));
  }
}

TEST_P(Deduplicate, IsTheSameForAnyNumberOfThreads) {
  if (context().on_cuda()) GTEST_SKIP() << "a matter of the CPU reference";
  const int threads = omp_get_max_threads();
  for (const std::vector<std::int32_t>& picks : pick_patterns(70001, 1 << 20)) {
    for (const int wanted : {1, 2, 3, 7}) {
      omp_set_num_threads(wanted);
      expect_rows(run(picks, 1 << 20), ExpectedRows(picks));
    }
  }
  omp_set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Devices, Deduplicate, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
