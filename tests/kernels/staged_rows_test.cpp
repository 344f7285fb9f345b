// Rows there and back again, and nothing else.
#include "kernels/staged_rows.h"

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

class StagedRowsOp : public MemoryOpTest {
 protected:
  StagedRows poisoned_staging(std::int64_t capacity, const RecordLayout& layout) {
    return {.values = poisoned_table(capacity, layout.v_dim, layout.moments),
            .rows = poisoned(DType::i32, {capacity}),
            .count = poisoned(DType::i32, {1})};
  }
  // Everything that is stored for a row.
  static std::vector<double> numbers(const TableState& state, std::int64_t row,
                                     std::int64_t v_dim) {
    std::vector<double> list;
    for (const auto* part : {&state.weights, &state.m, &state.v}) {
      list.insert(list.end(), part->begin() + row * v_dim, part->begin() + (row + 1) * v_dim);
    }
    list.push_back(state.last_step[at(row)]);
    return list;
  }
};

TEST_P(StagedRowsOp, FetchesAsManyRowsAsThereIsRoomFor) {
  const std::int64_t rows = 400;
  for (const std::int64_t v_dim : {1, 19, 64, 99, 128}) {
    const ValueRows table = poisoned_table(rows, v_dim, v_dim % 2 == 0 ? DType::bf16 : DType::f32);
    TableState state = random_state(rows, v_dim, 9);
    upload_table(table, state);
    for (const std::vector<std::int32_t>& picks : pick_patterns(99, rows)) {
      const ExpectedRows expected(picks);
      for (const std::int64_t capacity : {std::int64_t{1}, expected.count(), std::int64_t{150}}) {
        SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << ", room for " << capacity);
        const StagedRows staged = poisoned_staging(capacity, table.layout);
        fetch_rows(context(), staged, table, upload_rows(expected, 3));
        const std::int64_t count = std::min(capacity, expected.count());
        ASSERT_EQ(download_integers(staged.count)[0], count);
        const std::vector<std::int32_t> listed = download_integers(staged.rows);
        const TableState fetched = download_table(staged.values);
        for (std::int64_t u = 0; u < count; ++u) {
          const std::int64_t row = expected.rows[at(u)];
          EXPECT_EQ(listed[at(u)], row);
          EXPECT_EQ(numbers(fetched, u, v_dim), numbers(state, row, v_dim));
        }
        if (count < capacity) {
          EXPECT_EQ(fetched.last_step[at(count)], 0x7f7f7f7fU) << "past the last row";
        }
      }
    }
  }
}

TEST_P(StagedRowsOp, StoresWeightsAndRecordsApart) {
  const std::int64_t rows = 300;
  const std::int64_t capacity = 40;
  for (const std::int64_t v_dim : {1, 19, 64, 136}) {
    SCOPED_TRACE(testing::Message() << "v_dim " << v_dim);
    const ValueRows table = poisoned_table(rows, v_dim);
    TableState before = random_state(rows, v_dim, 9);
    upload_table(table, before);
    const ExpectedRows expected(pick_patterns(99, rows)[0]);
    const StagedRows staged = poisoned_staging(capacity, table.layout);
    fetch_rows(context(), staged, table, upload_rows(expected, 0));
    TableState after = random_state(capacity, v_dim, 20);
    upload_table(staged.values, after);

    const auto upper = [](double weight) {
      return join_float(split_float(static_cast<float>(weight)).hi, 0);
    };
    const auto check = [&](bool records_too) {
      const TableState stored = download_table(table);
      for (std::int64_t row = 0; row < rows; ++row) {
        const auto found = std::find(expected.rows.begin(), expected.rows.end(), row);
        const std::int64_t u = found - expected.rows.begin();
        const bool is_staged = found != expected.rows.end() && u < capacity;
        if (is_staged && records_too) {
          EXPECT_EQ(numbers(stored, row, v_dim), numbers(after, u, v_dim));
        } else if (is_staged) {
          EXPECT_EQ(upper(stored.weights[at(row * v_dim)]), upper(after.weights[at(u * v_dim)]));
          EXPECT_EQ(stored.m[at(row * v_dim)], before.m[at(row * v_dim)]);
          EXPECT_EQ(stored.last_step[at(row)], before.last_step[at(row)]);
        } else {
          EXPECT_EQ(numbers(stored, row, v_dim), numbers(before, row, v_dim));
        }
      }
    };
    store_weights(context(), table, staged);
    check(false);
    store_records(context(), table, staged);
    check(true);
    store_records(context(), table, staged);
    check(true);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, StagedRowsOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
