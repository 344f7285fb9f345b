// The guard: what is not finite stops the update and is counted, spikes are found, the window moves
// on.
#include "optim/update_guard.h"

#include <cstring>
#include <limits>

#include "tests/support/optim_test.h"

namespace memengine {
namespace {

class UpdateGuard : public OptimTest {
 protected:
  void prepare(std::int64_t window) {
    start(1000);
    config_.spike_window = window;
    guard_.state = zeros(DType::u8, {sizeof(GuardState)});
    if (window > 0) guard_.window = poisoned(DType::f64, {3, window});
  }
  // One update with these figures; whether it may be applied.
  bool step(double loss, double dense, double value) {
    set_scales(0.5, 0.25);
    std::vector<double> figures[3] = {{loss}, {dense}, {value}};
    guard_update(context(), guard_, upload(DType::f64, {1}, figures[0]),
                 upload(DType::f64, {1}, figures[1]), upload(DType::f64, {1}, figures[2]), state_,
                 config_);
    advance_step(context(), state_);
    const double dense_scale = download(state_.dense_scale)[0];
    const double value_scale = download(state_.value_scale)[0];
    EXPECT_EQ(std::isnan(dense_scale), std::isnan(value_scale));
    if (!std::isnan(dense_scale)) {
      EXPECT_EQ(dense_scale, 0.5);
      EXPECT_EQ(value_scale, 0.25);
    }
    return !std::isnan(dense_scale);
  }
  GuardState seen() {
    GuardState state;
    copy_bytes(context(), &state, guard_.state.data(), sizeof state);
    return state;
  }

  GuardConfig config_;
  GuardTensors guard_;
};

TEST_P(UpdateGuard, WhatIsNotFiniteIsSkippedAndCounted) {
  const double infinity = std::numeric_limits<double>::infinity();
  for (const std::int64_t window : {0, 4}) {
    prepare(window);
    EXPECT_TRUE(step(3, 1, 1));
    EXPECT_FALSE(step(std::nan(""), 1, 1));
    EXPECT_FALSE(step(3, infinity, 1));
    EXPECT_FALSE(step(3, 1, -infinity));
    EXPECT_EQ(seen().bad_updates, 3);
    EXPECT_EQ(seen().bad_in_a_row, 3);
    EXPECT_EQ(seen().first_bad_step, 2);
    EXPECT_EQ(seen().step, 4);
    EXPECT_EQ(seen().figures[2], -infinity);
    EXPECT_TRUE(step(3, 0, 0));  // a norm of zero is a number
    EXPECT_EQ(seen().bad_updates, 3);
    EXPECT_EQ(seen().bad_in_a_row, 0);
    EXPECT_EQ(seen().seen, window > 0 ? 2 : 0);
    EXPECT_EQ(seen().spikes, 0);
  }
}

TEST_P(UpdateGuard, SpikesAreFoundInEachFigureAndSkippedIfWanted) {
  for (const std::int64_t window : {1, 19, 99}) {
    for (const bool skip : {false, true}) {
      for (int figure = 0; figure < 3; ++figure) {
        prepare(window);
        config_.skip_spikes = skip;
        double figures[3] = {};
        for (std::int64_t i = 0; i < 2 * window; ++i) {
          const double noise = 0.01 * static_cast<double>(i % 2);
          EXPECT_TRUE(step(3 + noise, 1 + noise, 7 - noise));
        }
        EXPECT_EQ(seen().spikes, 0);
        figures[0] = 2.0, figures[1] = 0.1, figures[2] = 0.7;  // falling is no spike
        EXPECT_TRUE(step(figures[0], figures[1], figures[2]));
        prepare(window);
        for (std::int64_t i = 0; i < window; ++i) EXPECT_TRUE(step(3, 1, 7));
        figures[0] = 3.0, figures[1] = 1.0, figures[2] = 7.0;
        figures[figure] *= 1.2;
        EXPECT_EQ(step(figures[0], figures[1], figures[2]), !skip);
        EXPECT_EQ(seen().spikes, 1);
        EXPECT_EQ(seen().skipped_spikes, skip ? 1 : 0);
        EXPECT_EQ(seen().last_spike_step, window + 1);
        const double expected = figure == 0 ? 0.6 / 0.01 : std::log(1.2) / 0.01;
        EXPECT_NEAR(seen().zscores[figure], expected, 1e-9 * expected);
        EXPECT_EQ(seen().bad_updates, 0);
      }
    }
  }
}

TEST_P(UpdateGuard, AZScoreIsWhatItsDefinitionSays) {
  prepare(99);
  config_.spike_zscore = 1e9;
  std::vector<double> losses = normal(200);
  for (std::size_t i = 0; i < losses.size(); ++i) {
    step(losses[i], 1, 1);
    if (i < 99) {
      EXPECT_EQ(seen().zscores[0], 0);
      continue;
    }
    double mean = 0;
    double variance = 0;
    for (std::size_t k = i - 99; k < i; ++k) mean += losses[k] / 99;
    for (std::size_t k = i - 99; k < i; ++k) variance += std::pow(losses[k] - mean, 2) / 99;
    EXPECT_NEAR(seen().zscores[0], (losses[i] - mean) / std::sqrt(variance), 1e-9);
  }
}

// A new level is taken for normal after a while: spikes go into the window too.
TEST_P(UpdateGuard, ANewLevelIsNotSkippedForEver) {
  prepare(10);
  config_.skip_spikes = true;
  for (int i = 0; i < 10; ++i) step(3, 1, 1);
  EXPECT_FALSE(step(5, 1, 1));
  bool applied = false;
  for (int i = 0; i < 10; ++i) applied = step(5, 1, 1);
  EXPECT_TRUE(applied);
}

INSTANTIATE_TEST_SUITE_P(Devices, UpdateGuard, op_test_devices(), op_test_name);

}  // namespace
}  // namespace memengine
