// Sparse Adam against its definition in double; lazy decay against decay at every step; the dense
// variant against AdamW over the whole table.
#include "optim/sparse_adam.h"

#include "tests/support/optim_test.h"

namespace memengine {
namespace {

class SparseAdam : public OptimTest {
 protected:
  // State and rows are FP32 whatever the dtype of the activations.
  static constexpr double single = 2e-6;

  void expect_state(const TableState& actual, const TableState& expected, double bound) {
    expect_close(actual.weights, expected.weights, single);
    expect_close(actual.m, expected.m, bound);
    expect_close(actual.v, expected.v, bound);
    EXPECT_EQ(actual.last_step, expected.last_step);
  }
  Tensor upload_gradients(const ExpectedRows& expected, std::int64_t spare, std::int64_t v_dim,
                          std::vector<double>& gradients) {
    gradients = normal((expected.count() + spare) * v_dim);
    return upload(accumulator(), {expected.count() + spare, v_dim}, gradients);
  }
  // One reference update of row `row` with the gradient of unique row `u`.
  void update_row(TableState& state, std::int64_t row, std::int64_t v_dim, const double* gradient,
                  double keep, std::int64_t step) {
    for (std::int64_t i = 0; i < v_dim; ++i) {
      const std::size_t e = at(row * v_dim + i);
      AdamReference one{state.weights[e] * keep, state.m[e], state.v[e]};
      one.update(gradient == nullptr ? 0 : gradient[i], entry(step).value_learning_rate, adam_,
                 step);
      state.weights[e] = one.w;
      state.m[e] = one.m;
      state.v[e] = one.v;
    }
  }
};

TEST_P(SparseAdam, FollowsItsDefinition) {
  const std::int64_t rows = 400;
  const std::int64_t step = 9;
  for (const std::int64_t v_dim : {1, 19, 64, 99, 200}) {
    for (const DType moments : {DType::f32, DType::bf16}) {
      for (const std::vector<std::int32_t>& picks : pick_patterns(99, rows)) {
        SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << ", " << dtype_name(moments));
        start(20);
        set_scales(std::nan(""), 0.5);
        state_.step = upload(DType::i32, {1}, {step - 1});
        const ValueRows table = poisoned_table(rows, v_dim, moments);
        TableState expected = random_state(rows, v_dim, step - 1);
        upload_table(table, expected);
        const ExpectedRows unique(picks);
        std::vector<double> gradients;
        const Tensor device_gradients = upload_gradients(unique, 2, v_dim, gradients);
        const Tensor ever_used = upload(DType::i32, {1}, {100});
        sparse_adam(context(), table, {}, upload_rows(unique, 2), device_gradients, ever_used,
                    state_, adam_, 7);
        const TableState actual = download_table(table);
        int first_uses = 0;
        for (double& g : gradients) g *= 0.5;
        for (std::int64_t u = 0; u < unique.count(); ++u) {
          const std::int64_t row = unique.rows[at(u)];
          std::uint32_t& last_step = expected.last_step[at(row)];
          const double keep =
              std::exp(schedule_.value_log_decay[at(step)] - schedule_.value_log_decay[last_step]);
          first_uses += last_step == 0 ? 1 : 0;
          last_step = step;
          update_row(expected, row, v_dim, gradients.data() + u * v_dim, keep, step);
        }
        expect_state(actual, expected, moments == DType::f32 ? single : 8e-3);
        EXPECT_EQ(download_integers(ever_used)[0], 100 + first_uses);
      }
    }
  }
}

// One second moment for a row: the mean of the squares of its gradient, in the table as in a
// staging area.
TEST_P(SparseAdam, ARowMayHaveOneSecondMoment) {
  const std::int64_t rows = 400;
  const std::int64_t step = 9;
  for (const std::int64_t v_dim : {1, 3, 19, 64, 99, 200}) {
    for (const DType moments : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << ", " << dtype_name(moments));
      start(20);
      set_scales(std::nan(""), 0.5);
      state_.step = upload(DType::i32, {1}, {step - 1});
      TableState initial = random_state(rows, v_dim, step - 1);
      initial.v.resize(at(rows));
      const ExpectedRows unique(pick_patterns(99, rows)[0]);
      const UniqueRows device_rows = upload_rows(unique, 2);
      std::vector<double> gradients;
      const Tensor device_gradients = upload_gradients(unique, 2, v_dim, gradients);
      const auto run = [&](std::int64_t capacity) {
        const ValueRows table = poisoned_table(rows, v_dim, moments, true);
        upload_table(table, initial);
        StagedRows staged;
        if (capacity > 0) {
          staged = poisoned_staging(capacity, table, device_rows.capacity());
          empty_staging(context(), staged);
          plan_exchange(context(), staged, device_rows);
          exchange_rows(context(), staged, table, ExchangePace::alone);
        }
        sparse_adam(context(), table, staged, device_rows, device_gradients, zeros(DType::i32, {1}),
                    state_, adam_, 7);
        store_rows(context(), table, staged);
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
        double squares = 0;
        for (std::int64_t i = 0; i < v_dim; ++i) {
          const double g = 0.5 * gradients[at(u * v_dim + i)];
          squares += g * g;
        }
        double& v = expected.v[at(row)];
        v = adam_.beta2 * v + (1 - adam_.beta2) * squares / static_cast<double>(v_dim);
        const double root = std::sqrt(v / (1 - std::pow(adam_.beta2, step))) + adam_.epsilon;
        for (std::int64_t i = 0; i < v_dim; ++i) {
          const std::size_t e = at(row * v_dim + i);
          const double g = 0.5 * gradients[at(u * v_dim + i)];
          double& m = expected.m[e];
          m = adam_.beta1 * m + (1 - adam_.beta1) * g;
          expected.weights[e] = keep * expected.weights[e] - entry(step).value_learning_rate * m /
                                                                 (1 - std::pow(adam_.beta1, step)) /
                                                                 root;
        }
      }
      expect_state(actual, expected, moments == DType::f32 ? single : 8e-3);
      expect_close(actual.v, expected.v, single);
      const TableState staged = run(30);
      EXPECT_EQ(staged.weights, actual.weights);
      EXPECT_EQ(staged.m, actual.m);
      EXPECT_EQ(staged.v, actual.v);
      EXPECT_EQ(staged.last_step, actual.last_step);
    }
  }
}

// Some or all of the rows in a staging area, the rest in the table: the same bits, also of moments
// that are rounded by the row's number.
TEST_P(SparseAdam, WhereARowWaitsDoesNotMatter) {
  const std::int64_t rows = 400;
  for (const std::int64_t v_dim : {1, 19, 64}) {
    for (const DType moments : {DType::f32, DType::bf16}) {
      start(20);
      const ExpectedRows unique(pick_patterns(99, rows)[0]);
      const UniqueRows device_rows = upload_rows(unique, 2);
      // Of the step before: some of its rows are still there, in places of no order.
      const UniqueRows other_rows = upload_rows(ExpectedRows(pick_patterns(50, rows)[0]), 2);
      TableState initial = random_state(rows, v_dim, 0);
      std::vector<double> gradients;
      const Tensor device_gradients = upload_gradients(unique, 2, v_dim, gradients);
      const auto run = [&](std::int64_t capacity) {
        const ValueRows table = poisoned_table(rows, v_dim, moments);
        upload_table(table, initial);
        StagedRows staged;
        if (capacity > 0) {
          staged = poisoned_staging(capacity, table, device_rows.capacity());
          empty_staging(context(), staged);
        }
        const Tensor ever_used = zeros(DType::i32, {1});
        for (const UniqueRows& list : {other_rows, device_rows}) {
          plan_exchange(context(), staged, list);
          exchange_rows(context(), staged, table, ExchangePace::alone);
        }
        sparse_adam(context(), table, staged, device_rows, device_gradients, ever_used, state_,
                    adam_, 7);
        store_rows(context(), table, staged);
        EXPECT_EQ(download_integers(ever_used)[0], unique.count());
        return download_table(table);
      };
      const TableState in_table = run(0);
      for (const std::int64_t capacity :
           {std::int64_t{1}, unique.count() - 3, unique.count() + 2, rows}) {
        SCOPED_TRACE(testing::Message() << "v_dim " << v_dim << ", room for " << capacity);
        const TableState staged = run(capacity);
        EXPECT_EQ(staged.weights, in_table.weights);
        EXPECT_EQ(staged.m, in_table.m);
        EXPECT_EQ(staged.v, in_table.v);
        EXPECT_EQ(staged.last_step, in_table.last_step);
      }
    }
  }
}

TEST_P(SparseAdam, TouchesNothingButItsRows) {
  const std::int64_t rows = 200;
  for (const DType moments : {DType::f32, DType::bf16}) {
    start(20);
    const ValueRows table = poisoned_table(rows, 19, moments);
    TableState before = random_state(rows, 19, 0);
    upload_table(table, before);
    const ExpectedRows unique(pick_patterns(50, rows)[0]);
    std::vector<double> gradients;
    const Tensor device_gradients = upload_gradients(unique, 0, 19, gradients);
    const Tensor ever_used = zeros(DType::i32, {1});
    sparse_adam(context(), table, {}, upload_rows(unique, 0), device_gradients, ever_used, state_,
                adam_, 7);
    const TableState after = download_table(table);
    for (std::int64_t row = 0; row < rows; ++row) {
      const bool touched = std::binary_search(unique.rows.begin(), unique.rows.end(), row);
      EXPECT_EQ(after.last_step[at(row)], touched ? 1 : 0);
      for (std::size_t e = at(row * 19); e < at((row + 1) * 19); ++e) {
        EXPECT_EQ(after.weights[e] != before.weights[e], touched);
        if (!touched) {
          EXPECT_EQ(after.m[e], before.m[e]);
          EXPECT_EQ(after.v[e], before.v[e]);
        }
      }
    }
    EXPECT_EQ(download_integers(ever_used)[0], unique.count());
  }
}

TEST_P(SparseAdam, ANormThatIsNotFiniteChangesNothing) {
  start(20);
  set_scales(1, std::nan(""));
  const ValueRows table = poisoned_table(50, 19);
  TableState before = random_state(50, 19, 0);
  upload_table(table, before);
  const ExpectedRows unique(pick_patterns(50, 50)[0]);
  std::vector<double> gradients;
  const Tensor device_gradients = upload_gradients(unique, 0, 19, gradients);
  const Tensor ever_used = zeros(DType::i32, {1});
  const UniqueRows device_rows = upload_rows(unique, 0);
  sparse_adam(context(), table, {}, device_rows, device_gradients, ever_used, state_, adam_, 7);
  dense_adam_rows(context(), table, device_rows, device_gradients, ever_used, state_, adam_);
  const TableState after = download_table(table);
  EXPECT_EQ(after.weights, before.weights);
  EXPECT_EQ(after.m, before.m);
  EXPECT_EQ(after.v, before.v);
  EXPECT_EQ(after.last_step, before.last_step);
  EXPECT_EQ(download_integers(ever_used)[0], 0);
}

// Thirty steps: what the forward pass reads (gather_rows) is at every step what decaying every row
// at every step would give, also for rows that were never updated. Updates that are left out change
// nothing: no row decays.
TEST_P(SparseAdam, LazyDecayEqualsDecayAtEveryStep) {
  const std::int64_t rows = 150;
  const std::int64_t v_dim = 19;
  start(30, 0.8);
  const ValueRows table = poisoned_table(rows, v_dim);
  TableState expected = random_state(rows, v_dim, 0);
  upload_table(table, expected);
  std::vector<std::int32_t> all(at(rows));
  std::iota(all.begin(), all.end(), 0);
  const UniqueRows every_row = upload_rows(ExpectedRows(all), 0);
  const Tensor gathered = poisoned(dtype() == DType::bf16 ? DType::f32 : dtype(), {rows, v_dim});
  const Tensor ever_used = zeros(DType::i32, {1});
  std::vector<double> nothing(31, std::nan(""));  // entries to come are not read
  nothing[0] = 0;
  state_.log_decay = upload(DType::f64, {31}, nothing);
  for (std::int64_t step = 1; step <= 30; ++step) {
    const bool left_out = step == 1 || step % 5 == 3;
    set_scales(1, left_out ? std::nan("") : 1);
    const ExpectedRows unique(pick_patterns(40, rows)[at(step % 3)]);
    std::vector<double> gradients;
    const Tensor device_gradients = upload_gradients(unique, 0, v_dim, gradients);
    sparse_adam(context(), table, {}, upload_rows(unique, 0), device_gradients, ever_used, state_,
                adam_, 7);
    advance_step(context(), state_);
    for (double& weight : expected.weights) {
      if (!left_out) weight *= 1 - entry(step).value_learning_rate * 0.8;
    }
    for (std::int64_t u = 0; u < unique.count() && !left_out; ++u) {
      update_row(expected, unique.rows[at(u)], v_dim, gradients.data() + u * v_dim, 1, step);
    }
    gather_rows(context(), gathered, table, every_row, ValuePrecision::fp32,
                {state_.log_decay, state_.step});
    expect_close(download(gathered), expected.weights, 3e-6);
  }
}

TEST_P(SparseAdam, DenseVariantIsAdamWOverTheWholeTable) {
  const std::int64_t rows = 700;
  for (const std::int64_t v_dim : {1, 19, 64}) {
    start(6);
    const ValueRows table = poisoned_table(rows, v_dim);
    TableState expected = random_state(rows, v_dim, 0);
    upload_table(table, expected);
    const Tensor ever_used = zeros(DType::i32, {1});
    std::vector<bool> used(at(rows));
    for (std::int64_t step = 1; step <= 6; ++step) {
      const ExpectedRows unique(pick_patterns(99, rows)[at(step % 4)]);
      std::vector<double> gradients;
      const Tensor device_gradients = upload_gradients(unique, 2, v_dim, gradients);
      dense_adam_rows(context(), table, upload_rows(unique, 2), device_gradients, ever_used, state_,
                      adam_);
      advance_step(context(), state_);
      const double keep = 1 - entry(step).value_learning_rate * adam_.weight_decay;
      std::int64_t u = 0;
      for (std::int64_t row = 0; row < rows; ++row) {
        const bool picked = u < unique.count() && unique.rows[at(u)] == row;
        update_row(expected, row, v_dim, picked ? gradients.data() + u * v_dim : nullptr, keep,
                   step);
        if (picked) {
          expected.last_step[at(row)] = static_cast<std::uint32_t>(step);
          used[at(row)] = true;
          ++u;
        }
      }
    }
    expect_state(download_table(table), expected, single);
    EXPECT_EQ(download_integers(ever_used)[0], std::count(used.begin(), used.end(), true));
  }
}

// A moment between two BF16 numbers lands on either, with the mean where it belongs.
TEST_P(SparseAdam, StochasticRoundingIsRightOnAverageAndRepeatable) {
  const std::int64_t rows = 2000;
  const std::int64_t v_dim = 10;
  const auto run = [&](std::uint64_t seed) {
    start(3);
    const ValueRows table = poisoned_table(rows, v_dim, DType::bf16);
    TableState state{
        std::vector<double>(at(rows * v_dim), 0.5), std::vector<double>(at(rows * v_dim), 1.0),
        std::vector<double>(at(rows * v_dim), 1.0), std::vector<std::uint32_t>(at(rows), 0)};
    upload_table(table, state);
    std::vector<std::int32_t> all(at(rows));
    std::iota(all.begin(), all.end(), 0);
    std::vector<double> gradients(at(rows * v_dim), 1.01);  // m = 1.001: BF16 has 1 and 1.0078125
    const Tensor device_gradients = upload(accumulator(), {rows, v_dim}, gradients);
    sparse_adam(context(), table, {}, upload_rows(ExpectedRows(all), 0), device_gradients,
                zeros(DType::i32, {1}), state_, adam_, seed);
    return download_table(table);
  };
  const TableState state = run(7);
  double mean_m = 0;
  double mean_v = 0;
  for (std::size_t e = 0; e < state.m.size(); ++e) {
    EXPECT_TRUE(state.m[e] == 1 || state.m[e] == 1.0078125) << state.m[e];
    mean_m += state.m[e] / static_cast<double>(state.m.size());
    mean_v += state.v[e] / static_cast<double>(state.v.size());
  }
  EXPECT_NEAR(mean_m, 1.001, 1.5e-4);
  EXPECT_NEAR(mean_v, 0.95 + 0.05 * 1.01 * 1.01, 1.5e-4);
  EXPECT_EQ(run(7).m, state.m);
  EXPECT_NE(run(8).m, state.m);
}

INSTANTIATE_TEST_SUITE_P(Devices, SparseAdam, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
