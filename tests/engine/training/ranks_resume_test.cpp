// Runs of several ranks that stop and go on, by as many ranks or others.
#include <algorithm>
#include <cmath>

#include "engine/model_files/model_source.h"
#include "engine/model_files/weight_reader.h"
#include "tests/engine/training/training_testing.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

class RanksResume : public SmallRuns {
 protected:
  RanksResume() { write_byte_shard(folder_ / "data/train_000000.bin", random_walk(3000, 250)); }

  void SetUp() override {
    if (mpi_ranks() != nullptr) GTEST_SKIP() << "other numbers of ranks than mpirun's take part";
  }

  // Trains with `ranks` ranks and the same global batch of 12; what rank 0 was told.
  TrainingRecord train(const std::string& run, int ranks, std::vector<std::string> overrides,
                       int stop_after = 1 << 30) {
    overrides.push_back("data.batch_size=" + std::to_string(12 / ranks));
    overrides.push_back("model.productkey_args.mem_n_keys=19");
    TrainingRecord record;
    EXPECT_TRUE(on_ranks(ranks, [&](Communicator& communicator) {
      const bool first = communicator.rank() == 0;
      RunFiles run_files;
      std::vector<TrainingListener*> listeners = {&run_files, &record};
      if (!first) listeners.clear();
      Trainer trainer(config(run, overrides), listeners, FileSystem::real(), &communicator);
      // One rank's wish is enough.
      const std::int64_t step = trainer.run(
          [&] { return communicator.rank() == ranks - 1 && trainer.step() >= stop_after; });
      EXPECT_EQ(step, std::min<std::int64_t>(stop_after, trainer.config().steps));
    }));
    return record;
  }
};

TEST_F(RanksResume, AsManyRanksGoOnToTheLastBit) {
  const std::vector<std::string> overrides = {"checkpoint.dump.every=1", "steps=20",
                                              "checkpoint.increment_share=1"};
  for (const int ranks : {2, 3}) {
    const std::string name = std::to_string(ranks);
    const TrainingRecord whole = train("whole" + name, ranks, overrides);
    const TrainingRecord first = train("parts" + name, ranks, overrides, 9);
    EXPECT_GE(first.saves.back().base_step, 0) << "step 9 is an increment";
    const TrainingRecord second = train("parts" + name, ranks, overrides);
    EXPECT_EQ(second.resumed, 9);
    EXPECT_EQ(joined(first.losses, second.losses), whole.losses);
    EXPECT_EQ(second.last.banks.front().rows_ever_used, whole.last.banks.front().rows_ever_used);
    for (const auto& entry :
         std::filesystem::directory_iterator(checkpoints("whole" + name) / "0000000020")) {
      if (entry.path().extension() != ".safetensors") continue;
      EXPECT_EQ(file_bytes(entry.path()),
                file_bytes(checkpoints("parts" + name) / "0000000020" / entry.path().filename()))
          << entry.path();
    }
  }
}

// Each rank saves the moments that it has, and whoever resumes, with all of them or a part, takes
// what is his: the same run to the last bit.
TEST_F(RanksResume, MomentsOfPartsAreTheMomentsOfAll) {
  const std::string parts = "distributed.zero1=true";
  const std::string all = "distributed.zero1=false";
  // At rates that make no other picks of near ties.
  const std::vector<std::string> overrides = {"checkpoint.dump.every=4", "steps=20",
                                              "checkpoint.increment_share=0", "optim.lr=3e-4",
                                              "model.productkey_args.value_fixed_lr=1e-3"};
  const auto with = [&](const std::string& key) {
    std::vector<std::string> more = overrides;
    more.push_back(key);
    return more;
  };
  const TrainingRecord whole = train("whole", 3, overrides);
  for (const auto& [before, after] :
       {std::pair(parts, parts), std::pair(parts, all), std::pair(all, parts)}) {
    const std::string name = before.substr(18) + " then " + after.substr(18);
    const TrainingRecord first = train(name, 3, with(before), 8);
    const TrainingRecord second = train(name, 3, with(after));
    EXPECT_EQ(second.resumed, 8);
    EXPECT_EQ(joined(first.losses, second.losses), whole.losses) << name;
  }
  for (const int after : {1, 2, 4}) {
    const std::string name = fmt::format("3 to {}", after);
    const TrainingRecord first = train(name, 3, with(parts), 8);
    const std::vector<double> losses = joined(first.losses, train(name, after, with(parts)).losses);
    ASSERT_EQ(losses.size(), whole.losses.size());
    for (std::size_t i = 0; i < losses.size(); ++i) {
      EXPECT_NEAR(losses[i], whole.losses[i], 1e-4 * whole.losses[i]) << "step " << i + 1;
    }
  }
}

TEST_F(RanksResume, OtherNumbersOfRanksGoOnAsTheSameRun) {
  const TrainingRecord whole = train("whole", 1, {"steps=20"});
  for (const auto& [before, after] :
       {std::pair(2, 1), std::pair(1, 3), std::pair(3, 2), std::pair(2, 4)}) {
    for (const std::string increments : {"0", "1"}) {
      const std::vector<std::string> overrides = {"steps=20", "checkpoint.dump.every=2",
                                                  "checkpoint.increment_share=" + increments};
      const std::string name = fmt::format("run{}-{}-{}", before, after, increments);
      const TrainingRecord first = train(name, before, overrides, 8);
      const TrainingRecord second = train(name, after, overrides);
      EXPECT_EQ(second.resumed, 8);
      EXPECT_TRUE(
          second.was_told(fmt::format("the ranks are {} from here on; they were {}: a step "
                                      "has 192 tokens as before",
                                      after, before)));
      const std::vector<double> losses = joined(first.losses, second.losses);
      ASSERT_EQ(losses.size(), whole.losses.size());
      for (std::size_t i = 0; i < losses.size(); ++i) {
        EXPECT_NEAR(losses[i], whole.losses[i], 1e-4 * whole.losses[i]) << "step " << i + 1;
      }
      EXPECT_EQ(second.last.banks.front().rows_ever_used, whole.last.banks.front().rows_ever_used);
    }
  }
}

TEST_F(RanksResume, AnotherRunStartsFromAllWeightsOfACheckpointOfSeveral) {
  for (const std::string increments : {"0", "1"}) {
    const std::string name = "given" + increments;
    const TrainingRecord given = train(
        name, 3,
        {"steps=20", "checkpoint.dump.every=1", "checkpoint.increment_share=" + increments}, 9);
    EXPECT_EQ(given.saves.back().base_step >= 0, increments == "1");
    const ModelSource source = find_model(folder_ / name);
    std::vector<std::string> names = open_weights(source).names;
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end()) << "a name stands twice";
    const TrainingRecord taken = train(
        "from " + name, 1, {"steps=1", "checkpoint.init_ckpt_path=" + (folder_ / name).string()});
    EXPECT_TRUE(taken.was_told("all weights are from the checkpoint of step 9"));
    EXPECT_FALSE(taken.was_told("left over"));
  }
}

TEST_F(RanksResume, WhatOneRankFindsDamagedAllPassOver) {
  train("run", 3, {"steps=20", "checkpoint.dump.every=4", "checkpoint.increment_share=0"}, 8);
  const auto path = checkpoints("run") / "0000000008/table-1-of-3.safetensors";
  std::string bytes = file_bytes(path);
  bytes[bytes.size() - 5] ^= 1;
  std::ofstream(path, std::ios::binary) << bytes;
  const TrainingRecord second = train("run", 3, {"steps=20"});
  EXPECT_EQ(second.resumed, 4);
  EXPECT_TRUE(second.was_told("passing over the checkpoint of step 8"));
}

}  // namespace
}  // namespace memengine
