// Reading at other ranks, on every device: what the ranks hold lies on one device here, so one GPU
// tests the kernels of several.
#include "kernels/table/spread/peer_rows.h"

#include <map>

#include "kernels/table/spread/merge_requests.h"
#include "tests/kernels/table/spread/spread_op_test.h"

namespace memengine {
namespace {

class PeerRowsOp : public SpreadOpTest {
 protected:
  // merge_requests() makes of the requests what de-duplication made of them and their padding.
  void expect_merged(const UniqueRows& wanted, Tensor asked, Tensor count, Tensor begins,
                     std::int64_t part) {
    const auto first = [&](const Tensor& tensor, std::int32_t size) {
      std::vector<std::int32_t> result = integers_of(tensor);
      result.resize(at(size));
      return result;
    };
    const std::int32_t requests = integers_of(count).front();
    const std::int32_t distinct = integers_of(wanted.count).front();
    for (const bool with_inverse : {false, true}) {
      UniqueRows merged = poisoned_rows(asked.size(), std::min(asked.size(), part));
      merged.places = Tensor();
      if (!with_inverse) merged.inverse = Tensor();
      merge_requests(context(), merged, asked, count, begins, part);
      ASSERT_EQ(integers_of(merged.count).front(), distinct);
      EXPECT_EQ(first(merged.rows, distinct), first(wanted.rows, distinct));
      EXPECT_EQ(first(merged.offsets, distinct + 1), first(wanted.offsets, distinct + 1));
      EXPECT_EQ(first(merged.order, requests), first(wanted.order, requests));
      if (with_inverse) {
        EXPECT_EQ(first(merged.inverse, requests), first(wanted.inverse, requests));
      }
    }
  }
  std::vector<std::int32_t> integers_of(const Tensor& tensor) {
    std::vector<std::int32_t> result;
    for (const double value : download(tensor)) result.push_back(static_cast<std::int32_t>(value));
    return result;
  }
};

TEST_P(PeerRowsOp, RowsComeFromTheirOwners) {
  for (const std::int64_t v_dim : {1, 19, 64, 256}) {
    for (const std::int64_t ranks : {2, 3, 8}) {
      const RowOwners owners{101, ranks};
      PeerTable peers;
      peers.hi.size = peers.records.size = static_cast<int>(ranks);
      std::vector<TableState> states;
      for (std::int64_t r = 0; r < ranks; ++r) {
        const ValueRows part = poisoned_table(owners.rows_of(r), v_dim);
        TableState state;
        const std::size_t size = at(part.rows * v_dim);
        state.weights = normal(static_cast<std::int64_t>(size));
        state.m.assign(size, 0), state.v.assign(size, 0);
        state.last_step.assign(at(part.rows), 0);
        upload_table(part, state);
        states.push_back(state);
        peers.hi.of[r] = part.hi;
        peers.records.of[r] = part.records;
        peers.layout = part.layout;
      }
      const std::vector<std::int32_t> numbers = some_numbers(57, owners);
      const UniqueRows list = upload_list(numbers);
      for (const ValuePrecision precision : {ValuePrecision::bf16, ValuePrecision::fp32}) {
        std::vector<double> expected;
        for (const std::int32_t number : numbers) {
          for (std::int64_t i = 0; i < v_dim; ++i) {
            const double weight =
                states[at(number / owners.part())].weights[at(number % owners.part() * v_dim + i)];
            const float hi = join_float(split_float(static_cast<float>(weight)).hi, 0);
            expected.push_back(precision == ValuePrecision::bf16 ? hi : weight);
          }
        }
        const Tensor out = poisoned(dtype(), {list.capacity(), v_dim});
        gather_peer_rows(context(), out, peers, list, owners, precision);
        expect_close(download(out.rows(0, std::ssize(numbers))), expected);
        for (const double value : download(out.rows(std::ssize(numbers), 5))) {
          EXPECT_TRUE(std::isnan(value)) << "past the last row";
        }
      }
    }
  }
}

// Lists of every length, empty ones among them; and what the owner makes of them.
TEST_P(PeerRowsOp, AnOwnerAddsUpWhatAllHaveForItsRowsInTheOrderOfRanks) {
  const DType accumulator = dtype() == DType::f64 ? DType::f64 : DType::f32;
  for (const std::int64_t v_dim : {1, 19, 64, 256}) {
    for (const std::int64_t ranks : {2, 3, 8}) {
      const RowOwners owners{101, ranks};
      const std::int64_t owner = integer(0, ranks - 1);
      PeerLists lists;
      PeerAddresses gradients;
      lists.rows.size = lists.counts.size = gradients.size = static_cast<int>(ranks);
      std::map<std::int32_t, std::vector<double>> sums;  // by place
      std::vector<std::int32_t> requests;
      for (std::int64_t r = 0; r < ranks; ++r) {
        const std::vector<std::int32_t> numbers = some_numbers(r == 1 ? 0 : 20 + r, owners);
        const UniqueRows list = upload_list(numbers);
        const Tensor counts = poisoned(DType::i32, {ranks});
        count_by_owner(context(), counts, list, owners);
        std::vector<double> rows = normal(std::ssize(numbers) * v_dim + v_dim);
        const Tensor theirs = upload(accumulator, {std::ssize(numbers) + 1, v_dim}, rows);
        lists.rows.of[r] = list.rows.data();
        lists.counts.of[r] = counts.data();
        gradients.of[r] = theirs.data();
        const std::vector<double> stored = download(theirs);
        for (std::size_t u = 0; u < numbers.size(); ++u) {
          if (numbers[u] / owners.part() != owner) continue;
          const auto place = static_cast<std::int32_t>(numbers[u] % owners.part());
          requests.push_back(place);
          std::vector<double>& sum = sums[place];
          sum.resize(at(v_dim));
          for (std::int64_t i = 0; i < v_dim; ++i) {
            const double more = sum[at(i)] + stored[u * at(v_dim) + at(i)];
            sum[at(i)] = accumulator == DType::f64 ? more : static_cast<float>(more);
          }
        }
      }
      const std::int64_t capacity = ranks * owners.part();
      const Tensor asked = poisoned(DType::i32, {capacity});
      const Tensor count = poisoned(DType::i32, {1});
      const Tensor begins = poisoned(DType::i32, {ranks, 2});
      pull_requests(context(), asked, count, begins, lists, owners, owner);
      ASSERT_EQ(integers_of(count).front(), std::ssize(requests));
      std::vector<std::int32_t> padded = requests;
      padded.resize(at(capacity), static_cast<std::int32_t>(owners.part()));
      EXPECT_EQ(integers_of(asked), padded);

      UniqueRows owned = poisoned_rows(capacity, owners.part() + 1);
      deduplicate(context(), owned, asked, owners.part() + 1);
      drop_padding(context(), owned, owners);
      ASSERT_EQ(integers_of(owned.count).front(), std::ssize(sums));
      expect_merged(owned, asked, count, begins, owners.part());
      const Tensor out = poisoned(accumulator, {owners.part() + 1, v_dim});
      const Tensor squares = poisoned(DType::f64, {1});
      sum_peer_rows(context(), out, squares, gradients, begins, owned);
      std::vector<double> expected;
      double square_sum = 0;
      for (const auto& [place, sum] : sums) {
        expected.insert(expected.end(), sum.begin(), sum.end());
        for (const double value : sum) square_sum += value * value;
      }
      EXPECT_EQ(download(out.rows(0, std::ssize(sums))), expected) << "not the same to the bit";
      EXPECT_NEAR(download(squares).front(), square_sum, 1e-9 * square_sum);
    }
  }
}

TEST_P(PeerRowsOp, NothingIsAsked) {
  const RowOwners owners{10, 2};
  PeerLists lists;
  PeerAddresses gradients;
  lists.rows.size = lists.counts.size = gradients.size = 2;
  for (int r = 0; r < 2; ++r) {
    lists.rows.of[r] = upload(DType::i32, {1}, {0}).data();
    lists.counts.of[r] = upload(DType::i32, {2}, {0, 0}).data();
  }
  const Tensor asked = poisoned(DType::i32, {10});
  const Tensor count = poisoned(DType::i32, {1});
  const Tensor begins = poisoned(DType::i32, {2, 2});
  pull_requests(context(), asked, count, begins, lists, owners, 1);
  UniqueRows owned = poisoned_rows(10, 6);
  deduplicate(context(), owned, asked, 6);
  drop_padding(context(), owned, owners);
  EXPECT_EQ(integers_of(owned.count).front(), 0);
  expect_merged(owned, asked, count, begins, owners.part());
  const DType accumulator = dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor squares = poisoned(DType::f64, {1});
  sum_peer_rows(context(), poisoned(accumulator, {6, 4}), squares, gradients, begins, owned);
  EXPECT_EQ(download(squares).front(), 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, PeerRowsOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
