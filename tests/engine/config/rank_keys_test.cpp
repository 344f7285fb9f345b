// Keys that say how many processes share the work, against the number that was started.
#include "engine/config/rank_keys.h"

#include <gtest/gtest.h>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

RunConfig parse(int ranks, const std::vector<std::string>& keys) {
  std::vector<std::string> overrides;
  for (const std::string& key : keys) overrides.push_back("distributed." + key);
  return parse_run_config(
      "name: keys\ndump_dir: run\nmodel: {dim: 64, n_heads: 2, n_layers: 1}\n"
      "data: {batch_size: 3, seq_len: 5}\n",
      "t.yaml", overrides, {0, ranks});
}

std::string refusal(int ranks, const std::vector<std::string>& keys) {
  try {
    parse(ranks, keys);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    return error.what();
  }
  return "accepted";
}

TEST(RankKeys, MustFitTheNumberOfRanks) {
  const auto expect = [](int ranks, const std::vector<std::string>& keys, const char* part) {
    const std::string text = refusal(ranks, keys);
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(4, {"dp_shard=3"}, "distributed.dp_shard=3 does not divide the 4 ranks");
  expect(4, {"memory_parallel_size=8"}, "memory_parallel_size=8 does not divide the 4 ranks");
  expect(4, {"dp_replicate=2"}, "dp_replicate=2 with dp_shard=1 is for 2 ranks");
  expect(6, {"dp_replicate=2", "dp_shard=2"}, "is for 4 ranks, and this run has 6");
  expect(2, {"tp_size=2"}, "distributed.tp_size=2 cannot be done");
  for (const std::vector<std::string>& keys : {std::vector<std::string>{},
                                               {"dp_shard=4"},
                                               {"dp_shard=2", "dp_replicate=2"},
                                               {"dp_shard=2"},
                                               {"dp_replicate=4", "memory_parallel_size=2"},
                                               {"dp_replicate=1"}}) {
    EXPECT_EQ(refusal(4, keys), "accepted");
  }
  // One rank: only a note.
  EXPECT_EQ(refusal(1, {"dp_shard=3", "tp_size=2", "memory_parallel_size=8"}), "accepted");
}

TEST(RankKeys, ANoteSaysWhatTheyMean) {
  const RunConfig run = parse(4, {"dp_shard=2", "memory_parallel_size=4"});
  ASSERT_EQ(run.notices.size(), 1U);
  EXPECT_NE(run.notices[0].find("distributed.dp_shard=2, distributed.memory_parallel_size=4: 4 "
                                "ranks train here, each on a batch of its own"),
            std::string::npos)
      << run.notices[0];
  EXPECT_NE(run.notices[0].find("a step has 60 tokens"), std::string::npos) << run.notices[0];
  EXPECT_TRUE(parse(4, {"dp_shard=1"}).notices.empty());
}

}  // namespace
}  // namespace memengine
