// Python's generator: numbers and samples that CPython gives.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/evaluation/python/python_random.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/philox.h"
#include "tests/data.h"

namespace memengine {
namespace {

using Numbers = std::vector<std::uint32_t>;

Numbers first_three(std::uint64_t seed) {
  PythonRandom random(seed);
  return {random.next32(), random.next32(), random.next32()};
}

TEST(PythonRandom, GivesCPythonsNumbers) {
  EXPECT_EQ(first_three(1234), (Numbers{4150886329U, 3342196574U, 1892932127U}));
  EXPECT_EQ(first_three(0), (Numbers{3626764237U, 1654615998U, 3255389356U}));
  EXPECT_EQ(first_three((1ULL << 40) + 7), (Numbers{2635837658U, 3209733218U, 3500038837U}));
  PythonRandom random(1234);
  for (int i = 0; i < 1999; ++i) random.next32();
  EXPECT_EQ(random.next32(), 881902874U);
  EXPECT_EQ(PythonRandom(1234).real(), 0.9664535356921388);
  PythonRandom reals(99);
  EXPECT_EQ(reals.real(), 0.40397807494366633);
  EXPECT_EQ(reals.real(), 0.20007544457494542);
}

TEST(PythonRandom, SamplesBothWays) {
  // random.Random(99).sample(range(size), count) in CPython 3.11: the hash of the numbers joined by
  // commas. Sizes on both sides of where Python changes from a pool to a set of picks.
  struct Case {
    std::uint32_t size, count;
    std::uint64_t hash;
  };
  const Case cases[] = {{1, 1, 12638135523509116079ULL},    {5, 5, 5932767664397990331ULL},
                        {21, 5, 71026641219483376ULL},      {22, 5, 8710509653754863576ULL},
                        {85, 6, 6739905502978201650ULL},    {86, 6, 6739905502978201650ULL},
                        {277, 19, 14846382609557218380ULL}, {278, 19, 14846382609557218380ULL},
                        {989, 99, 15927260576084390941ULL}, {1000000, 11, 13527053530773420045ULL}};
  for (const Case& c : cases) {
    std::string joined;
    for (const std::uint32_t pick : PythonRandom(99).sample(c.size, c.count)) {
      joined += (joined.empty() ? "" : ",") + std::to_string(pick);
    }
    EXPECT_EQ(random_stream(joined), c.hash) << c.size << " choose " << c.count << ": " << joined;
  }
  EXPECT_TRUE(PythonRandom(1).sample(3, 0).empty());
  EXPECT_THROW(PythonRandom(1).sample(3, 4), Error);
}

TEST(PythonRandom, DrawsTheHarnessesFewShotExamples) {
  MEMENGINE_REQUIRE_DATA();
  std::ifstream in(test_data_folder() / "eval/lm_eval_rules/fewshot_rng_seed1234.json");
  const nlohmann::json cases = nlohmann::json::parse(in);
  ASSERT_FALSE(cases.empty());
  for (const auto& [title, draws] : cases.items()) {
    const auto size = static_cast<std::uint32_t>(std::stoul(title.substr(title.find("pool=") + 5)));
    PythonRandom random(1234);
    for (const auto& draw : draws) {
      const auto expected = draw.get<Numbers>();
      EXPECT_EQ(random.sample(size, static_cast<std::uint32_t>(expected.size())), expected)
          << title;
    }
  }
}

}  // namespace
}  // namespace memengine
