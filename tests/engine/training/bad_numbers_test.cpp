// Numbers that are not finite: one batch is left out and counted, a run of them ends training with
// a diagnosis, and the checkpoints before stay.
#include "engine/training/bad_numbers.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "tests/engine/training/training_testing.h"
#include "tests/io/checkpoints/checkpoint_testing.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class BadNumbersTest : public SmallRuns {
 protected:
  // A model whose embeddings of tokens [first, last] are NaN; training can start from it.
  fs::path poisoned_model(int first, int last) {
    train("origin", {"steps=1"});
    const fs::path folder = folder_ / "poisoned";
    fs::remove_all(folder);
    fs::create_directories(folder);
    fs::copy(checkpoints("origin") / "0000000001/model.safetensors", folder / "model.safetensors");
    fs::copy(folder_ / "origin/config.yaml", folder / "config.yaml");
    testing_io::alter_tensor(folder / "model.safetensors", "tok_embeddings.weight",
                             [&](std::span<char> bytes) {
                               const float nan = std::numeric_limits<float>::quiet_NaN();
                               for (int i = first * 8; i < (last + 1) * 8; ++i) {
                                 std::memcpy(bytes.data() + 4 * i, &nan, 4);
                               }
                             });
    return folder;
  }
};

TEST_F(BadNumbersTest, OneBadBatchIsLeftOutCountedAndAnnounced) {
  const std::string init = "checkpoint.init_ckpt_path=" + poisoned_model(99, 99).string();
  // 31 windows, two per step: 16 steps see all of them.
  const TrainingRecord whole = train("run", {init, "steps=16"});
  EXPECT_EQ(error, "");
  int bad = 0;
  for (const double loss : whole.losses) bad += std::isfinite(loss) ? 0 : 1;
  EXPECT_GE(bad, 1);
  EXPECT_LE(bad, 3);  // the window, its neighbour, and the next epoch
  EXPECT_EQ(whole.last.skipped_updates, bad);
  EXPECT_TRUE(whole.was_told("was skipped: loss nan"));
  EXPECT_TRUE(whole.was_told("its batch begins at sequence"));
  const std::string metrics = file_bytes(folder_ / "run/metrics.jsonl");
  EXPECT_NE(metrics.find("\"optim/skipped_updates\": " + std::to_string(bad)), std::string::npos);
  EXPECT_NE(file_bytes(folder_ / "run/train.log").find("was skipped: loss nan"), std::string::npos);
  // A stop changes nothing, the counts included.
  const TrainingRecord first = train("parts", {init, "steps=16"}, 9);
  const TrainingRecord second = train("parts", {init, "steps=16"});
  EXPECT_EQ(second.last.skipped_updates, bad);
  EXPECT_EQ(first.losses.size() + second.losses.size(), 16U);
  EXPECT_EQ(second.losses.back(), whole.losses.back());
}

TEST_F(BadNumbersTest, ARunOfThemEndsTrainingWithADiagnosis) {
  const std::string init = "checkpoint.init_ckpt_path=" + poisoned_model(0, 255).string();
  for (const int most : {1, 5}) {
    const std::string run = "run" + std::to_string(most);
    const TrainingRecord record =
        train(run, {init, "guard.max_bad_steps=" + std::to_string(most), "steps=40"});
    EXPECT_NE(error.find("stopped at step " + std::to_string(most)), std::string::npos) << error;
    EXPECT_NE(error.find("from update 1 on, whose batch begins at sequence 0"), std::string::npos)
        << error;
    EXPECT_NE(error.find("the weight tok_embeddings.weight [0, 0]"), std::string::npos) << error;
    EXPECT_EQ(record.failure, error);
    EXPECT_NE(file_bytes(folder_ / (run + "/train.log")).find(error), std::string::npos);
    EXPECT_TRUE(checkpoint_steps(checkpoints(run)).empty());
  }
}

TEST_F(BadNumbersTest, CheckpointsAreNotPrunedByARunOfThem) {
  train("run", {"steps=8", "checkpoint.dump.keep=1"});
  ASSERT_EQ(newest_checkpoint(checkpoints("run")).checkpoint->step(), 8);
  const TrainingRecord record = train(
      "run", {"steps=400", "checkpoint.dump.keep=1", "checkpoint.dump.every=1", "optim.lr=1e6",
              "optim.clip=0", "optim.weight_decay=1e6", "guard.max_bad_steps=30"});
  EXPECT_NE(error.find("30 updates in a row were skipped"), std::string::npos) << error;
  EXPECT_TRUE(record.was_told("not saved: the last"));
  const NewestCheckpoint newest = newest_checkpoint(checkpoints("run"));
  ASSERT_TRUE(newest.checkpoint);
  EXPECT_LT(newest.checkpoint->step(), record.last.step - 25);
}

TEST_F(BadNumbersTest, SpikesAreToldAndSurviveAStop) {
  const std::vector<std::string> overrides = {"guard.spike_window=3", "guard.spike_zscore=0.5",
                                              "guard.skip_spikes=true", "steps=24"};
  const TrainingRecord whole = train("whole", overrides);
  EXPECT_GT(whole.last.spikes, 0);
  EXPECT_EQ(whole.last.skipped_updates, whole.last.spikes);
  EXPECT_TRUE(whole.was_told("spike at update"));
  for (const int stop : {2, 5, 11}) {
    const std::string run = "parts" + std::to_string(stop);
    const TrainingRecord first = train(run, overrides, stop);
    const TrainingRecord second = train(run, overrides);
    EXPECT_EQ(joined(first.losses, second.losses), whole.losses);
    EXPECT_EQ(second.last.spikes, whole.last.spikes);
  }
}

}  // namespace
}  // namespace memengine
