// Plain descent against its definition in double, in the table as in a staging area.
#include "optim/sparse_sgd/sparse_sgd.h"

#include "tests/support/optim_test.h"

namespace memengine {
namespace {

class SparseSgd : public OptimTest {
 protected:
  ValueRows table_without_moments(std::int64_t rows, std::int64_t v_dim) {
    ValueRows table;
    table.rows = rows;
    table.layout.v_dim = v_dim;
    table.layout.has_moments = false;
    table.hi = static_cast<std::uint16_t*>(poisoned(DType::bf16, {rows, v_dim}).data());
    table.records =
        static_cast<std::byte*>(poisoned(DType::u8, {rows, table.layout.bytes()}).data());
    return table;
  }
};

TEST_P(SparseSgd, FollowsItsDefinitionWhereverARowIs) {
  const std::int64_t rows = 400;
  const std::int64_t step = 9;
  for (const std::int64_t v_dim : {1, 19, 64, 99, 200}) {
    for (const std::vector<std::int32_t>& picks : pick_patterns(99, rows)) {
      SCOPED_TRACE(testing::Message() << "v_dim " << v_dim);
      start(20);
      set_scales(std::nan(""), 0.5);
      state_.step = upload(DType::i32, {1}, {step - 1});
      TableState initial = random_state(rows, v_dim, step - 1);
      const ExpectedRows unique(picks);
      const UniqueRows list = upload_rows(unique, 2);
      auto gradients = normal(list.capacity() * v_dim);
      const Tensor on_device = upload(accumulator(), {list.capacity(), v_dim}, gradients);
      const auto run = [&](std::int64_t capacity) {
        const ValueRows table = table_without_moments(rows, v_dim);
        upload_table(table, initial);
        StagedRows staged;
        if (capacity > 0) {
          staged = poisoned_staging(capacity, table, list.capacity());
          empty_staging(context(), staged);
          plan_exchange(context(), staged, list);
          exchange_rows(context(), staged, table, ExchangePace::alone);
        }
        const Tensor ever_used = upload(DType::i32, {1}, {100});
        sparse_sgd(context(), table, staged, list, on_device, ever_used, state_);
        store_rows(context(), table, staged);
        std::int32_t first_uses = 0;
        for (const std::int32_t row : unique.rows) {
          first_uses += initial.last_step[at(row)] == 0 ? 1 : 0;
        }
        EXPECT_EQ(download_integers(ever_used)[0], 100 + first_uses);
        return download_table(table);
      };
      const TableState actual = run(0);
      TableState expected = initial;
      for (std::int64_t u = 0; u < unique.count(); ++u) {
        const std::int64_t row = unique.rows[at(u)];
        std::uint32_t& last_step = expected.last_step[at(row)];
        const double keep =
            std::exp(schedule_.value_log_decay[at(step)] - schedule_.value_log_decay[last_step]);
        last_step = step;
        for (std::int64_t i = 0; i < v_dim; ++i) {
          double& weight = expected.weights[at(row * v_dim + i)];
          weight =
              keep * weight - entry(step).value_learning_rate * 0.5 * gradients[at(u * v_dim + i)];
        }
      }
      expect_close(actual.weights, expected.weights, 2e-6);
      EXPECT_EQ(actual.last_step, expected.last_step);
      const TableState staged = run(30);
      EXPECT_EQ(staged.weights, actual.weights);
      EXPECT_EQ(staged.last_step, actual.last_step);
    }
  }
}

TEST_P(SparseSgd, ABadUpdateLeavesEverything) {
  start(20);
  set_scales(1, std::nan(""));
  const ValueRows table = table_without_moments(50, 19);
  TableState before = random_state(50, 19, 0);
  upload_table(table, before);
  const ExpectedRows unique(pick_patterns(30, 50)[0]);
  auto numbers = normal(unique.count() * 19);
  const Tensor gradients = upload(accumulator(), {unique.count(), 19}, numbers);
  sparse_sgd(context(), table, {}, upload_rows(unique, 0), gradients, zeros(DType::i32, {1}),
             state_);
  EXPECT_EQ(download_table(table).weights, before.weights);
}

INSTANTIATE_TEST_SUITE_P(Devices, SparseSgd, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
