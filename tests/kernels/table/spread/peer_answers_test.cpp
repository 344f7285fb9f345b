// Reading what owners have made ready, on every device: what the ranks hold lies on one device
// here, so one GPU tests the kernels of several.
#include "kernels/table/spread/peer_answers.h"

#include <set>

#include "tests/kernels/table/spread/spread_op_test.h"

namespace memengine {
namespace {

class PeerAnswersOp : public SpreadOpTest {};

// Every rank asks, each owner answers with rows of its own, in any order and some of them for
// several requests; lists of every length, an empty one among them.
TEST_P(PeerAnswersOp, EachRankFindsTheAnswersToItsList) {
  for (const std::int64_t v_dim : {1, 19, 64, 256}) {
    for (const std::int64_t ranks : {2, 3, 8}) {
      const RowOwners owners{101, ranks};
      std::vector<std::vector<std::int32_t>> lists;
      PeerAddresses counts, rows, numbers;
      counts.size = rows.size = numbers.size = static_cast<int>(ranks);
      std::vector<UniqueRows> uploaded;
      for (std::int64_t r = 0; r < ranks; ++r) {
        lists.push_back(some_numbers(r == 1 ? 0 : 20 + r, owners));
        uploaded.push_back(upload_list(lists.back()));
        const Tensor listed = poisoned(DType::i32, {ranks});
        count_by_owner(context(), listed, uploaded.back(), owners);
        counts.of[r] = listed.data();
      }
      // What each owner holds: row `place` of its part has the values place, place + 128,
      // place, ..., whole numbers below 256, which BF16 has exactly; it stands where `where` says.
      constexpr std::int64_t spare = 7;
      for (std::int64_t owner = 0; owner < ranks; ++owner) {
        const std::int64_t held = owners.part() + spare;
        const std::int64_t stride = 1 + 2 * integer(0, 3);
        const auto where = [&](std::int64_t place) { return (place * stride + owner) % held; };
        std::set<std::int64_t> used;
        std::vector<double> values(at(held * v_dim), -1.0);
        std::vector<std::int32_t> answers;
        for (std::int64_t r = 0; r < ranks; ++r) {
          for (const std::int32_t number : lists[at(r)]) {
            if (number / owners.part() != owner) continue;
            const std::int64_t place = number % owners.part();
            std::int64_t at_row = where(place);
            // Strides that meet: the row is looked for from there on.
            while (used.contains(at_row) && values[at(at_row * v_dim)] != double(place)) {
              at_row = (at_row + 1) % held;
            }
            used.insert(at_row);
            for (std::int64_t i = 0; i < v_dim; ++i) {
              values[at(at_row * v_dim + i)] = double(place) + 128.0 * double(i % 2);
            }
            answers.push_back(static_cast<std::int32_t>(at_row));
          }
        }
        answers.insert(answers.end(), 3, 1 << 30);  // never to be read
        rows.of[owner] = upload(dtype(), {held, v_dim}, values).data();
        numbers.of[owner] = upload(DType::i32, {std::ssize(answers)}, answers).data();
      }
      for (std::int64_t r = 0; r < ranks; ++r) {
        const Tensor bases = poisoned(DType::i32, {ranks, 2});
        find_bases(context(), bases, counts, r);
        const UniqueRows& list = uploaded[at(r)];
        const Tensor out = poisoned(dtype(), {list.capacity(), v_dim});
        read_answers(context(), out, rows, numbers, bases, list, owners);
        std::vector<double> expected;
        for (const std::int32_t number : lists[at(r)]) {
          for (std::int64_t i = 0; i < v_dim; ++i) {
            expected.push_back(double(number % owners.part()) + 128.0 * double(i % 2));
          }
        }
        const std::int64_t listed = std::ssize(lists[at(r)]);
        if (listed > 0) {
          EXPECT_EQ(download(out.rows(0, listed)), expected) << "rank " << r;
        }
        for (const double value : download(out.rows(listed, 5))) {
          EXPECT_TRUE(std::isnan(value)) << "past the last row";
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, PeerAnswersOp, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
