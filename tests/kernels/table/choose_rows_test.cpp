// Ranking a step's rows by what the background does not read, and the list of those that are left.
#include "kernels/table/choose_rows.h"

#include <algorithm>
#include <set>

#include "kernels/bag/embedding_bag.h"
#include "tests/support/memory_op_test.h"

namespace memengine {
namespace {

class ChooseRows : public MemoryOpTest {
 protected:
  BackgroundUse upload_background(const std::vector<std::int32_t>& frequency,
                                  std::int32_t batches) {
    std::vector<float> rarity(most_background_batches + 1);
    rarity_of(rarity, batches);
    std::vector<double> numbers(rarity.begin(), rarity.end());
    return {upload(DType::i32, {static_cast<std::int64_t>(frequency.size())}, frequency),
            upload(DType::i32, {1}, std::vector<std::int32_t>{batches}),
            upload(DType::f32, {most_background_batches + 1}, numbers)};
  }
  // The picks that the chosen rows have, as choose_rows() should leave them.
  struct Chosen {
    std::vector<std::int32_t> rows, order, offsets, places;
  };
  Chosen expected(const ExpectedRows& all, const std::vector<std::int32_t>& frequency,
                  std::int32_t batches, std::int64_t most) {
    std::vector<std::pair<double, std::int32_t>> ranked;  // by descending score, then row
    for (std::int64_t u = 0; u < all.count(); ++u) {
      const auto rarity =
          static_cast<float>(std::log((batches + 1.0) / (frequency[at(all.rows[at(u)])] + 1.0)));
      const auto count = static_cast<float>(all.offsets[at(u + 1)] - all.offsets[at(u)]);
      ranked.emplace_back(-static_cast<double>(count * rarity), static_cast<std::int32_t>(u));
    }
    std::sort(ranked.begin(), ranked.end());
    ranked.resize(at(std::min<std::int64_t>(most, all.count())));
    std::set<std::int32_t> kept;
    for (const auto& [score, u] : ranked) kept.insert(u);
    Chosen chosen;
    for (const std::int32_t u : kept) {
      chosen.offsets.push_back(static_cast<std::int32_t>(chosen.order.size()));
      for (std::int32_t i = all.offsets[at(u)]; i < all.offsets[at(u + 1)]; ++i) {
        chosen.order.push_back(all.order[at(i)]);
        chosen.places.push_back(static_cast<std::int32_t>(chosen.rows.size()));
      }
      chosen.rows.push_back(all.rows[at(u)]);
    }
    chosen.offsets.push_back(static_cast<std::int32_t>(chosen.order.size()));
    chosen.order.resize(all.order.size(), 0);
    chosen.places.resize(all.order.size(), 0x7fffffff);
    return chosen;
  }
  UniqueRows room(std::int64_t picks, std::int64_t capacity) {
    UniqueRows rows = poisoned_rows(picks, capacity);
    rows.inverse = {};
    return rows;
  }
};

TEST_P(ChooseRows, TakesTheRarestFirst) {
  for (const std::int64_t count : {1, 19, 99, 989, 5003}) {
    for (const std::int64_t rows : {1, 19, 400}) {
      for (const std::vector<std::int32_t>& picks : pick_patterns(count, rows)) {
        const ExpectedRows all(picks);
        const std::int32_t batches = 30;
        std::vector<std::int32_t> frequency(at(rows));
        for (std::int32_t& f : frequency) f = static_cast<std::int32_t>(integer(0, batches));
        const BackgroundUse background = upload_background(frequency, batches);
        const UniqueRows list = upload_rows(all, 2);
        for (const std::int64_t most : {1, 7, 100, 100'000}) {
          SCOPED_TRACE(testing::Message() << count << " picks of " << rows << ", most " << most);
          const UniqueRows chosen = room(count, std::min(most, list.capacity()));
          choose_rows(context(), chosen, list, background, most);
          const Chosen want = expected(all, frequency, batches, most);
          const auto kept = static_cast<std::int64_t>(want.rows.size());
          ASSERT_EQ(download_integers(chosen.count)[0], kept);
          EXPECT_EQ(download_integers(chosen.rows.rows(0, kept)), want.rows);
          EXPECT_EQ(download_integers(chosen.offsets.rows(0, kept + 1)), want.offsets);
          EXPECT_EQ(download_integers(chosen.order), want.order);
          EXPECT_EQ(download_integers(chosen.places), want.places);
        }
      }
    }
  }
}

// Rows 3, 5, 8 and 9 are picked 4, 2, 2 and 1 times; 3 is in every background batch, 9 in none.
TEST_P(ChooseRows, AnExampleByHand) {
  const std::vector<std::int32_t> picks = {3, 5, 8, 3, 9, 8, 3, 5, 3};
  std::vector<std::int32_t> frequency(10, 0);
  frequency[3] = 7;
  frequency[5] = 1;  // 2 log(8 / 2) = 2.77
  frequency[8] = 3;  // 2 log(8 / 4) = 1.39; row 9: log 8 = 2.08
  const BackgroundUse background = upload_background(frequency, 7);
  const UniqueRows chosen = room(9, 2);
  choose_rows(context(), chosen, upload_rows(ExpectedRows(picks), 0), background, 2);
  EXPECT_EQ(download_integers(chosen.rows), (std::vector<std::int32_t>{5, 9}));
  EXPECT_EQ(download_integers(chosen.offsets), (std::vector<std::int32_t>{0, 2, 3}));
  EXPECT_EQ(download_integers(chosen.order.rows(0, 3)), (std::vector<std::int32_t>{1, 7, 4}));
}

// What is left is a list like any other: the gradients of the chosen rows are what they were.
TEST_P(ChooseRows, GradientsOfTheChosenRowsAreTheSame) {
  const std::int64_t tokens = 331, per_token = 3, v_dim = 19, rows = 50;
  for (const std::vector<std::int32_t>& picks : pick_patterns(tokens * per_token, rows)) {
    const ExpectedRows all(picks);
    std::vector<std::int32_t> frequency(at(rows));
    for (std::int32_t& f : frequency) f = static_cast<std::int32_t>(integer(0, 12));
    const UniqueRows list = upload_rows(all, 0);
    const UniqueRows chosen = room(tokens * per_token, std::min<std::int64_t>(9, all.count()));
    choose_rows(context(), chosen, list, upload_background(frequency, 12), 9);
    auto coefficients = normal(tokens * per_token);
    auto vectors = normal(tokens * v_dim);
    const Tensor c = upload(dtype(), {tokens, per_token}, coefficients);
    const Tensor x = upload(dtype(), {tokens, v_dim}, vectors);
    const Tensor square_sum = poisoned(DType::f64, {1});
    const Tensor full = poisoned(accumulator(), {all.count(), v_dim});
    embedding_bag_backward_rows(context(), full, square_sum, c, x, list);
    const Tensor part = poisoned(accumulator(), {chosen.capacity(), v_dim});
    embedding_bag_backward_rows(context(), part, square_sum, c, x, chosen);
    const std::vector<std::int32_t> kept = download_integers(chosen.rows);
    const std::vector<double> from = download(full);
    std::vector<double> want;
    double squares = 0;
    for (const std::int32_t row : kept) {
      const auto u = std::lower_bound(all.rows.begin(), all.rows.end(), row) - all.rows.begin();
      want.insert(want.end(), from.begin() + u * v_dim, from.begin() + (u + 1) * v_dim);
    }
    for (const double g : want) squares += g * g;
    expect_close(download(part), want);
    EXPECT_NEAR(download(square_sum)[0], squares, 1e-5 * squares);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ChooseRows, op_test_devices(), op_test_name);

TEST(Rarity, IsTheLogarithmOfTheFormula) {
  std::vector<float> rarity(most_background_batches + 1);
  rarity_of(rarity, 1000);
  EXPECT_FLOAT_EQ(rarity[0], std::log(1001.0F));
  EXPECT_FLOAT_EQ(rarity[9], std::log(100.1F));
  EXPECT_EQ(rarity[1000], 0);
  EXPECT_EQ(rarity[1001], 0);
}

}  // namespace
}  // namespace memengine
