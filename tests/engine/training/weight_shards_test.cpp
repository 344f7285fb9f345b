// Parts of the weights: whole parameters, nearly even, handed out to all.
#include "engine/training/exchange/weight_shards.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/model/model_testing.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

// Each weight is in one part, and no part is longer than even ones and a parameter.
TEST(WeightShards, AreOfWholeParametersAndNearlyEven) {
  for (const ModelConfig& config : {small_dense(), small_memory()}) {
    TestModel test(config, true, 11, TrainedPart::all);
    const ParameterStore& parameters = test.model().parameters();
    const Tensor values = parameters.values();
    std::int64_t largest = 0;
    for (const NamedTensor& named : parameters.named()) {
      largest = std::max(largest, named.value.size());
    }
    for (const std::int64_t ranks : {1, 2, 3, 4, 7, 64}) {
      const std::vector<std::int64_t> begins = parameters.shards(ranks);
      ASSERT_EQ(std::ssize(begins), ranks + 1);
      EXPECT_EQ(begins.front(), 0);
      EXPECT_EQ(begins.back(), values.size());
      EXPECT_TRUE(std::is_sorted(begins.begin(), begins.end()));
      for (std::size_t r = 0; r + 1 < begins.size(); ++r) {
        // Projections of one input are one parameter (wq, wk, wv), and there is padding.
        EXPECT_LE(begins[r + 1] - begins[r], values.size() / ranks + 4 * largest);
      }
      for (const NamedTensor& named : parameters.named()) {
        const bool trained = !parameters.part_of(values, named.value).empty();
        std::int64_t found = 0;
        for (std::size_t r = 0; r + 1 < begins.size(); ++r) {
          const std::int64_t length = begins[r + 1] - begins[r];
          if (length == 0) continue;
          const Tensor part =
              parameters.part_of(values.rows(begins[r], length), named.value, begins[r]);
          if (part.empty()) continue;
          ++found;
          EXPECT_EQ(part.data(), named.value.data()) << named.name;
          EXPECT_EQ(part.size(), named.value.size()) << named.name;
        }
        EXPECT_EQ(found, trained ? 1 : 0) << named.name << " of " << ranks;
      }
    }
  }
}

TEST(WeightShards, EveryRankGetsWhatTheOthersHaveUpdated) {
  TestModel test(small_memory(), true, 11, TrainedPart::all);
  const ParameterStore& parameters = test.model().parameters();
  const auto n = static_cast<std::size_t>(parameters.values().size());
  on_ranks(3, [&](Communicator& ranks) {
    Runtime runtime(Device::cpu, &ranks);
    const RankPlace place{ranks.rank(), ranks.size()};
    const WeightShards shards(parameters, place, true);
    ASSERT_TRUE(shards.first().has_value());
    const auto first = static_cast<std::size_t>(*shards.first());
    const auto count = static_cast<std::size_t>(shards.count());
    std::vector<double> values(n, -1), compute(n, -1);
    for (std::size_t i = first; i < first + count; ++i) {
      values[i] = static_cast<double>(i);
      compute[i] = static_cast<double>(i) / 2;
    }
    const auto length = static_cast<std::int64_t>(n);
    shards.hand_out(runtime.context(), {Tensor(values.data(), DType::f64, {length}),
                                        Tensor(compute.data(), DType::f64, {length}),
                                        {}});
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_EQ(values[i], static_cast<double>(i));
      ASSERT_EQ(compute[i], static_cast<double>(i) / 2);
    }
    const WeightShards all(parameters, place, false);
    EXPECT_FALSE(all.first().has_value());
    EXPECT_EQ(all.count(), length);
  });
}

}  // namespace
}  // namespace memengine
