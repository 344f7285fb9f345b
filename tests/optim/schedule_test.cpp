// Learning-rate schedules against numbers computed apart from this code, in Python, from the
// reference's formulas.
#include "optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

constexpr std::int64_t steps[] = {1, 5, 10, 11, 37, 50, 51, 76, 99, 100};  // of 100, warmup 10

void expect_multipliers(const OptimConfig& config, const double (&expected)[10]) {
  for (std::size_t i = 0; i < 10; ++i) {
    EXPECT_NEAR(schedule_multiplier(config, steps[i], 100), expected[i], 1e-13)
        << "step " << steps[i];
  }
}

OptimConfig config_of(Scheduler scheduler) {
  OptimConfig config;
  config.scheduler = scheduler;
  config.warmup = 10;
  return config;
}

TEST(Schedule, ConstantHasNoWarmUp) {
  expect_multipliers(config_of(Scheduler::constant), {1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
}

TEST(Schedule, Linear) {
  expect_multipliers(config_of(Scheduler::linear),
                     {0, 0.4, 0.9, 1, 0.74, 0.61, 0.6, 0.35, 0.12, 0.11});
}

TEST(Schedule, InverseSquareRoot) {
  OptimConfig config = config_of(Scheduler::inv_sqrt);
  expect_multipliers(config,
                     {0, 0.4, 0.9, 1, 0.5270462766947299, 0.45175395145262565, 0.4472135954999579,
                      0.3651483716701107, 0.31943828249996997, 0.31782086308186414});
  config.exp_factor = 0.9;
  config.lr_min_ratio = 0.25;
  expect_multipliers(config, {0, 0.4, 0.9, 1, 0.3157386511498236, 0.25, 0.25, 0.25, 0.25, 0.25});
}

TEST(Schedule, Cosine) {
  OptimConfig config = config_of(Scheduler::cosine);
  expect_multipliers(config,
                     {0, 0.4, 0.9, 1, 0.8270476638965462, 0.6435602608679917, 0.6281416799501187,
                      0.26074557564105727, 0.10109617738307912, 0.10027412784140691});
  config.cycle_length = 0.5;
  config.cosine_theta = 2;
  config.lr_min_ratio = 0.05;
  expect_multipliers(config,
                     {0, 0.4, 0.9, 1, 0.9361777138562302, 0.7060084287663801, 0.3712263775222974,
                      0.9956301915983015, 0.06799664942100539, 0.05457152937129193});
  config.cycle_length = 0.3;
  config.cosine_theta = 1.5;
  config.lr_min_ratio = 0;
  config.warmup = 0;
  expect_multipliers(config, {1, 0.9982464296247522, 0.9801468428384715, 0.9728340559779136,
                              0.8187119948743449, 0.9501593857010968, 0.9234123406990704,
                              0.9342663214057567, 0.8710446524631972, 0.814507323653711});
}

TEST(Schedule, ARunShorterThanItsWarmUpStaysInIt) {
  OptimConfig config = config_of(Scheduler::cosine);
  config.warmup = 2000;
  EXPECT_DOUBLE_EQ(schedule_multiplier(config, 20, 20), 19.0 / 2000);
}

TEST(Schedule, EntriesHoldWhatAnUpdateNeeds) {
  OptimConfig config = config_of(Scheduler::linear);
  config.lr = 2e-3;
  const Schedule schedule = make_schedule(config, 0.1, 0.05, 100);
  ASSERT_EQ(schedule.entries.size(), 101U);
  ASSERT_EQ(schedule.value_log_decay.size(), 101U);
  EXPECT_EQ(schedule.value_log_decay[0], 0);
  double log_decay = 0;
  for (std::int64_t step = 1; step <= 100; ++step) {
    const std::size_t t = static_cast<std::size_t>(step);
    const ScheduleEntry& entry = schedule.entries[t];
    const double multiplier = schedule_multiplier(config, step, 100);
    EXPECT_FLOAT_EQ(entry.learning_rate, static_cast<float>(2e-3 * multiplier));
    EXPECT_FLOAT_EQ(entry.value_learning_rate, static_cast<float>(0.1 * multiplier));
    EXPECT_FLOAT_EQ(entry.bias_correction1, static_cast<float>(1 - std::pow(0.9, step)));
    EXPECT_FLOAT_EQ(entry.bias_correction2, static_cast<float>(1 - std::pow(0.95, step)));
    log_decay += std::log(1 - entry.value_learning_rate * 0.05);
    EXPECT_NEAR(schedule.value_log_decay[t], log_decay, 1e-14);
  }
}

TEST(Schedule, WithoutDecayOrMomentumItIsPlain) {
  OptimConfig config = config_of(Scheduler::constant);
  config.beta1 = 0;
  config.beta2 = 0.999999;  // 1 - beta2 cancels in a careless formula
  const Schedule schedule = make_schedule(config, 0.1, 0, 3);
  for (const double log_decay : schedule.value_log_decay) EXPECT_EQ(log_decay, 0);
  EXPECT_EQ(schedule.entries[1].bias_correction1, 1);
  EXPECT_FLOAT_EQ(schedule.entries[1].bias_correction2, 1e-6F);
}

TEST(Schedule, RefusesWhatCannotBe) {
  OptimConfig config = config_of(Scheduler::inv_sqrt);
  config.warmup = 0;
  EXPECT_THROW(make_schedule(config, 0.1, 0, 10), Error);
  EXPECT_THROW(make_schedule(config_of(Scheduler::constant), 10, 0.1, 10), Error);
}

}  // namespace
}  // namespace memengine
