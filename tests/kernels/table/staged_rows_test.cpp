// Rows go to the area and back over many steps, and whoever asks for one gets its newest copy.
#include "kernels/table/staged_rows/staged_rows.h"

#include <set>

#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

constexpr std::int64_t rows = 400;
constexpr std::int64_t longest = 120;

class StagedRowsOp : public MemoryOpTest {
 protected:
  static void copy_row(TableState& to, std::int64_t to_row, const TableState& from,
                       std::int64_t from_row, std::int64_t v_dim) {
    for (std::int64_t i = 0; i < v_dim; ++i) {
      to.weights[at(to_row * v_dim + i)] = from.weights[at(from_row * v_dim + i)];
      to.m[at(to_row * v_dim + i)] = from.m[at(from_row * v_dim + i)];
      to.v[at(to_row * v_dim + i)] = from.v[at(from_row * v_dim + i)];
    }
    to.last_step[at(to_row)] = from.last_step[at(from_row)];
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
  std::vector<std::int32_t> first(Tensor tensor, std::int64_t count) {
    std::vector<std::int32_t> list = download_integers(tensor);
    list.resize(at(count));
    return list;
  }
  std::vector<std::int32_t> in_area(const StagedRows& staged) {
    return first(staged.rows, download_integers(staged.count)[0]);
  }
};

// A walk of many steps with lists of every kind. The truth is kept apart, row by row; the table's
// copies of rows in the area are spoilt after every step, so that whoever reads one is found out.
TEST_P(StagedRowsOp, EveryRowIsWhereItIsSaidToBeAndUpToDate) {
  Runtime other(context().device);
  for (const std::int64_t v_dim : {1, 19, 64}) {
    for (const std::int64_t capacity : {1, 99, 150, 240}) {
      const DType moments = v_dim % 2 == 0 ? DType::bf16 : DType::f32;
      const ValueRows table = poisoned_table(rows, v_dim, moments);
      const StagedRows staged = poisoned_staging(capacity, table.layout, longest);
      empty_staging(context(), staged);
      TableState truth = random_state(rows, v_dim, 9);
      upload_table(table, truth);
      std::vector<std::vector<std::int32_t>> lists = pick_patterns(99, rows);
      lists.push_back(lists[0]);  // the same again
      lists.push_back(lists[0]);
      lists.back().erase(lists.back().begin(), lists.back().begin() + 40);
      lists.push_back({});
      for (auto& list : pick_patterns(longest, rows)) lists.push_back(std::move(list));
      int number = 0;
      for (const std::vector<std::int32_t>& picks : lists) {
        SCOPED_TRACE(testing::Message()
                     << "v_dim " << v_dim << ", " << capacity << " places, list " << number++);
        const ExpectedRows list(picks);
        const std::int64_t length = list.count();
        const UniqueRows unique = upload_rows(list, longest - length);
        const std::vector<std::int32_t> before = in_area(staged);
        const std::vector<std::int32_t> places_before = download_integers(staged.places);

        const Tensor newer = poisoned(DType::i32, {longest});
        find_staged(context(), newer, staged, unique);
        std::vector<std::int32_t> expected_newer(at(longest), 0x7f7f7f7f);
        for (std::int64_t u = 0; u < length; ++u) {
          const auto found = std::find(before.begin(), before.end(), list.rows[at(u)]);
          const bool there = found != before.end();
          expected_newer[at(u)] = there ? places_before[at(found - before.begin())] : -1;
        }
        EXPECT_EQ(download_integers(newer), expected_newer);

        plan_exchange(context(), staged, unique);
        if (number % 3 == 0) {  // two streams share the work
          wait_for(other.context(), context());
          exchange_rows(other.context(), staged, table, ExchangePace::beside_others);
        }
        exchange_rows(context(), staged, table, ExchangePace::alone);
        wait_for(context(), other.context());
        const std::vector<std::int32_t> after = in_area(staged);
        const auto count = static_cast<std::int64_t>(after.size());
        ASSERT_EQ(count, std::min(length, capacity));
        const std::vector<std::int32_t> places = download_integers(staged.places);
        EXPECT_EQ(std::set<std::int32_t>(places.begin(), places.end()).size(), at(capacity));
        EXPECT_GE(*std::min_element(places.begin(), places.end()), 0);
        EXPECT_LT(*std::max_element(places.begin(), places.end()), capacity);
        std::vector<std::int32_t> listed = first(staged.listed, length);
        const TableState area = download_table(staged.values);
        TableState stored = download_table(table);
        for (std::int64_t i = 0; i < count; ++i) {
          const std::int32_t row = list.rows[at(listed[at(i)])];
          EXPECT_EQ(after[at(i)], row);
          EXPECT_TRUE(i == 0 || after[at(i - 1)] < row);
          const std::int32_t had = expected_newer[at(listed[at(i)])];
          EXPECT_TRUE(had < 0 || had == places[at(i)]) << "a row that stays does not move";
          EXPECT_EQ(numbers(area, places[at(i)], v_dim), numbers(truth, row, v_dim));
        }
        for (std::int64_t row = 0; row < rows; ++row) {
          if (std::binary_search(after.begin(), after.end(), row)) continue;
          ASSERT_EQ(numbers(stored, row, v_dim), numbers(truth, row, v_dim)) << "row " << row;
        }
        std::sort(listed.begin(), listed.end());
        for (std::int64_t u = 0; u < length; ++u) ASSERT_EQ(listed[at(u)], u);

        // The step's update, and rubbish for what nobody may read.
        const ValueRows scratch = poisoned_table(rows, v_dim, moments);
        TableState update = random_state(rows, v_dim, 30);
        upload_table(scratch, update);
        TableState updated = area;
        const std::vector<std::int32_t> all = first(staged.listed, length);
        for (std::int64_t i = 0; i < length; ++i) {
          const std::int32_t row = list.rows[at(all[at(i)])];
          copy_row(truth, row, update, row, v_dim);
          if (i < count) copy_row(updated, places[at(i)], update, row, v_dim);
          copy_row(stored, row, i < count ? area : update, i < count ? places[0] : row, v_dim);
        }
        upload_table(staged.values, updated);
        upload_table(table, stored);
      }
      for (int time = 0; time < 2; ++time) {  // twice: the rows are still in the area
        const std::vector<std::int32_t> before = in_area(staged);
        store_rows(context(), table, staged);
        const TableState stored = download_table(table);
        for (std::int64_t row = 0; row < rows; ++row) {
          ASSERT_EQ(numbers(stored, row, v_dim), numbers(truth, row, v_dim)) << "row " << row;
        }
        EXPECT_EQ(in_area(staged), before);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, StagedRowsOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
