// Every rung of every ladder computes what the engine's CPU reference does: the last rung on the
// CPU, from the same inputs. So none of them rots, and a ladder compares like with like.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "engine/bench/ladders/ladder.h"
#include "engine/bench/ladders/run_ladder.h"
#include "engine/bench/report.h"
#include "gtest/gtest.h"
#include "tests/expect_input_error.h"

namespace memengine::bench {
namespace {

constexpr LadderOptions tiny_ladder{LadderOptions::Size::tiny, 0};

struct LadderCase {
  const char* ladder;
  Device device;
};

std::vector<LadderCase> ladder_cases() {
  std::vector<LadderCase> all;
  for (const NamedLadder& ladder : all_ladders()) {
    all.push_back({ladder.name, Device::cpu});
    if (choose_device("auto") == Device::cuda) all.push_back({ladder.name, Device::cuda});
  }
  return all;
}

class Ladders : public testing::TestWithParam<LadderCase> {};

// A rung's result after `times` runs from the state at the start.
std::vector<double> result_of(const Ladder& ladder, const Rung& rung, int times) {
  ladder.reset();
  for (int i = 0; i < times; ++i) rung.run();
  return ladder.result();
}

TEST_P(Ladders, EveryRungComputesTheSame) {
  const NamedLadder& named = find_ladder(GetParam().ladder);
  Runtime reference_runtime(Device::cpu), runtime(GetParam().device);
  Workbench reference_bench(reference_runtime, {}), bench(runtime, {});
  const Ladder reference = named.build(reference_bench, tiny_ladder);
  const Ladder ladder = named.build(bench, tiny_ladder);
  ASSERT_EQ(ladder.rungs.size(), reference.rungs.size());
  // Twice: an optimizer's second step finds moments.
  for (const int times : {1, 2}) {
    const std::vector<double> expected = result_of(reference, reference.rungs.back(), times);
    double norm = 0;
    for (const double x : expected) norm += x * x;
    ASSERT_GT(norm, 0);
    for (const Rung& rung : ladder.rungs) {
      if (rung.run == nullptr) {
        EXPECT_EQ(GetParam().device, Device::cpu) << rung.name;
        continue;
      }
      SCOPED_TRACE(rung.name + ", run " + std::to_string(times) + " times");
      const std::vector<double> actual = result_of(ladder, rung, times);
      ASSERT_EQ(actual.size(), expected.size());
      double difference = 0;
      for (std::size_t i = 0; i < actual.size(); ++i) {
        difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
      }
      // Rows, whose sums are exact, are equal; BF16 has three digits.
      const double bound = GetParam().device == Device::cuda ? 1e-2 : 1e-5;
      EXPECT_LE(std::sqrt(difference / norm), bound);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Ladders, testing::ValuesIn(ladder_cases()),
                         [](const testing::TestParamInfo<LadderCase>& info) {
                           return std::string(info.param.ladder) +
                                  (info.param.device == Device::cpu ? "_cpu" : "_cuda");
                         });

// Of 37 x 3 x 19 rows none may differ: a wrong one would hide in a sum of squares.
TEST(Ladder, ProductKeysPickTheSameRows) {
  for (const Device device : {Device::cpu, choose_device("auto")}) {
    Runtime reference_runtime(Device::cpu), runtime(device);
    Workbench reference_bench(reference_runtime, {}), bench(runtime, {});
    const Ladder reference = product_key_ladder(reference_bench, tiny_ladder);
    const Ladder ladder = product_key_ladder(bench, tiny_ladder);
    const std::vector<double> expected = result_of(reference, reference.rungs.back(), 1);
    for (const Rung& rung : ladder.rungs) {
      const std::vector<double> actual = result_of(ladder, rung, 1);
      const auto picks = static_cast<std::int64_t>(expected.size()) / 2;
      EXPECT_TRUE(std::equal(expected.begin(), expected.begin() + picks, actual.begin()))
          << rung.name;
    }
  }
}

TEST(Ladder, TellTheReasonAndTheTimeOfEveryRung) {
  TimingOptions timing;
  timing.repetitions = 1;
  timing.seconds_per_repetition = 0;
  for (const NamedLadder& named : all_ladders()) {
    std::string told;
    const std::vector<RungResult> rungs =
        run_ladder(named.name, Device::cpu, timing, tiny_ladder,
                   [&](const std::string& line) { told += line + "\n"; });
    ASSERT_GE(rungs.size(), 3U);
    for (const RungResult& rung : rungs) {
      EXPECT_NE(told.find(rung.rung), std::string::npos) << told;
      EXPECT_NE(told.find(rung.seconds > 0 ? rung.why : "only on a GPU"), std::string::npos)
          << told;
      EXPECT_NE(told.find("  " + rung.shape), std::string::npos) << told;
    }
    Results results;
    results.rungs = rungs;
    const auto written = nlohmann::json::parse(to_json(results)).at("ladder_rungs");
    ASSERT_EQ(written.size(), rungs.size());
    for (std::size_t i = 0; i < rungs.size(); ++i) {
      EXPECT_EQ(written[i].at("shape"), rungs[i].shape);
      EXPECT_FALSE(rungs[i].shape.empty());
      EXPECT_EQ(written[i].contains("ms"), rungs[i].seconds > 0);
      EXPECT_EQ(written[i].contains("skipped"), rungs[i].seconds == 0);
    }
  }
}

TEST(Ladder, AnUnknownNameIsAnInputErrorThatListsThem) {
  expect_input_error("host_gather, product_key", [] { find_ladder("host_gathers"); });
}

}  // namespace
}  // namespace memengine::bench
