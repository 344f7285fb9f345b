// A memory that collapses is announced, once; one that is used is not.
#include "engine/training/watch/collapse_watch.h"

#include <cmath>

#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

TEST(CollapseWatch, ExpectedRowsAreThoseOfEvenDraws) {
  EXPECT_NEAR(expected_rows(1, 32, 1'000'000), 32, 0.01);
  EXPECT_NEAR(expected_rows(1000, 128, 1'048'576), 120'496, 1);
  EXPECT_NEAR(expected_rows(100'000, 128, 16384), 16384, 1e-6);
  EXPECT_EQ(expected_rows(0, 128, 16384), 0);
}

TEST(CollapseWatch, ALookCountsAMillionPicksAtMost) {
  EXPECT_EQ(tokens_looked_at(512, 128), 512);
  EXPECT_EQ(tokens_looked_at(32768, 128), 8192);
  EXPECT_EQ(tokens_looked_at(16384, 100), 10485);
  EXPECT_EQ(tokens_looked_at(3, 5'000'000), 1);
}

class CollapseTest : public SmallRuns {
 protected:
  // The picks of every step: `reached` different rows, whatever the tokens.
  std::vector<std::string> look_for_long(std::int64_t reached, int layers, bool shared = true) {
    const RunConfig config = this->config(
        "unused", {"model.vocab_size=257", "data.batch_size=8", "data.seq_len=64",
                   "model.n_layers=4", "model.productkey_args.mem_n_keys=64",
                   "model.productkey_args.mem_knn=4", "model.productkey_args.mem_query_norm=none",
                   layers == 2 ? "model.productkey_args.layers='1,3'" : "name=one",
                   shared ? "name=shared" : "model.productkey_args.mem_share_values=false"});
    Runtime runtime(Device::cpu);
    TrainingModel model(config, runtime);
    CollapseWatch watch(config);
    Arena arena(Device::cpu, 4 * 512);
    const Tensor tokens = arena.allocate("tokens", DType::i32, {512});
    for (int i = 0; i < 512; ++i) tokens.as<std::int32_t>()[i] = i % 257;
    std::vector<std::string> said;
    for (std::int64_t step = 1; step <= 2000; ++step) {
      for (const MemoryBank& bank : model.transformer().banks()) {
        for (std::int64_t slot = 0; slot < bank.slots(); ++slot) {
          // Only the last reader is bad.
          const bool last =
              &bank == &model.transformer().banks().back() && slot + 1 == bank.slots();
          const Tensor picks = bank.picks(slot, 512);
          for (std::int64_t i = 0; i < picks.size(); ++i) {
            picks.as<std::int32_t>()[i] =
                static_cast<std::int32_t>(i * 31 % (last ? reached : std::int64_t{4096}));
          }
        }
      }
      if (!watch.due(step)) continue;
      for (const std::string& line : watch.look(runtime, model.transformer(), tokens, step)) {
        said.push_back(line);
      }
    }
    return said;
  }
};

TEST_F(CollapseTest, IsAnnouncedOnceWithItsLayerAndWhatToTry) {
  for (const bool shared : {true, false}) {
    const std::vector<std::string> said = look_for_long(9, 2, shared);
    ASSERT_EQ(said.size(), 1U);
    EXPECT_NE(said[0].find("the memory of layer 3 has collapsed"), std::string::npos) << said[0];
    EXPECT_NE(said[0].find("mem_query_norm=batchnorm"), std::string::npos) << said[0];
    EXPECT_NE(said[0].find("257 distinct tokens of a batch"), std::string::npos) << said[0];
  }
  EXPECT_EQ(look_for_long(9, 1).size(), 1U);
}

TEST_F(CollapseTest, AUsedMemoryIsNot) {
  EXPECT_TRUE(look_for_long(4096, 2).empty());
  EXPECT_TRUE(look_for_long(300, 1).empty()) << "little is not nothing";
}

}  // namespace
}  // namespace memengine
