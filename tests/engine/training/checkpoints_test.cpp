// A run's checkpoints: what a fault, a full disk, damage or a changed config may do to a run, and
// that every piece of saved state matters.
#include <cerrno>
#include <cstring>

#include "tests/engine/training/training_testing.h"
#include "tests/io/checkpoints/checkpoint_testing.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using testing_io::FaultyFileSystem;

using Checkpoints = SmallRuns;

TEST_F(Checkpoints, IncrementsResumeBitExactly) {
  for (const std::string share : {"0", "0.9", "1"}) {
    const std::vector<std::string> overrides = {"checkpoint.increment_share=" + share,
                                                "checkpoint.dump.every=1", "steps=20"};
    const TrainingRecord whole = train("whole" + share, overrides);
    ASSERT_EQ(whole.losses.size(), 20U);
    std::size_t increments = 0;
    for (const SaveReport& save : whole.saves) increments += save.base_step >= 0 ? 1 : 0;
    EXPECT_EQ(increments > 0, share != "0");
    EXPECT_EQ(whole.saves.back().base_step, -1) << "the last one is full";
    for (const int stop : {3, 10}) {
      const std::string run = fmt::format("parts{}-{}", share, stop);
      const TrainingRecord first = train(run, overrides, stop);
      EXPECT_EQ(first.saves.back().base_step >= 0, share != "0");
      const TrainingRecord second = train(run, overrides);
      EXPECT_EQ(second.resumed, stop);
      EXPECT_EQ(joined(first.losses, second.losses), whole.losses);
      for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
        EXPECT_EQ(file_bytes(checkpoints(run) / "0000000020" / file),
                  file_bytes(checkpoints("whole" + share) / "0000000020" / file));
      }
    }
  }
}

// On a GPU where there is one: tables in its own memory and in host memory.
TEST_F(Checkpoints, AnIncrementReadsAsTheFullCheckpoint) {
  const auto overrides = [](const std::string& host, const std::string& share) {
    return std::vector<std::string>{"device=auto",
                                    "checkpoint.increment_share=" + share,
                                    "checkpoint.dump.every=1",
                                    "steps=20",
                                    "model.dim=32",
                                    "model.n_heads=4",
                                    "checkpoint.dump.keep=0",
                                    "model.productkey_args.zero_copy=" + host};
  };
  const TrainingRecord full = train("full", overrides("false", "0"));
  EXPECT_EQ(error, "");
  for (const std::string host : {"false", "true"}) {
    const std::string run = "increments-" + host;
    const TrainingRecord first = train(run, overrides(host, "1"), 10);
    EXPECT_GE(first.saves.back().base_step, 0) << "step 10 is an increment";
    const TrainingRecord second = train(run, overrides(host, "1"));
    EXPECT_EQ(error, "");
    EXPECT_EQ(second.resumed, 10);
    EXPECT_EQ(joined(first.losses, second.losses), full.losses);
    for (const std::int64_t step : {10, 20}) {
      const Checkpoint whole(checkpoints("full") / checkpoint_name(step));
      const Checkpoint increment(checkpoints(run) / checkpoint_name(step));
      for (const char* tensor : {"values.weight", "values.weight.first_moment",
                                 "values.weight.second_moment", "values.weight.last_step"}) {
        const std::string name = std::string("layers.1.feed_forward.") + tensor;
        ASSERT_NE(whole.find(name), nullptr) << name;
        std::vector<std::byte> expected(whole.find(name)->bytes), found(expected.size());
        whole.read(name, 0, expected);
        increment.read(name, 0, found);
        EXPECT_EQ(found, expected) << name << " at step " << step;
      }
    }
  }
}

// Each piece of state that a checkpoint holds is needed: without it the losses are others.
TEST_F(Checkpoints, EveryPieceOfStateMatters) {
  const TrainingRecord whole = train("whole");
  train("origin", {}, 4);
  const std::string table = "layers.1.feed_forward.values.weight";
  const auto resumed_from = [&](const std::string& run,
                                const std::function<void(fs::path)>& change) {
    fs::copy(folder_ / "origin", folder_ / run, fs::copy_options::recursive);
    const fs::path folder = checkpoints(run) / "0000000004";
    change(folder);
    const TrainingRecord rest = train(run);
    EXPECT_EQ(error, "");
    EXPECT_EQ(rest.resumed, 4);
    return rest.losses;
  };
  const std::vector<double> expected(whole.losses.begin() + 4, whole.losses.end());
  EXPECT_EQ(resumed_from("same", [](const fs::path& folder) { testing_io::reseal(folder); }),
            expected);
  EXPECT_NE(resumed_from("position",
                         [](const fs::path& folder) {
                           testing_io::reseal(folder, [](StateFile& state) {
                             state.sections["loader"]["sequences"] = std::int64_t{0};
                             state.sections["loader.source.0"]["drawn"] = std::int64_t{0};
                           });
                         }),
            expected);
  const auto without = [&](const std::string& run, const std::string& tensor,
                           const std::function<void(std::span<char>)>& change) {
    return resumed_from(run, [&](const fs::path& folder) {
      testing_io::alter_tensor(folder / "optimizer.safetensors", tensor, change);
      testing_io::reseal(folder);
    });
  };
  const auto zero = [](std::span<char> bytes) { std::memset(bytes.data(), 0, bytes.size()); };
  EXPECT_NE(without("step", "optimizer.step", zero), expected);
  EXPECT_NE(without("first", "norm.weight.first_moment", zero), expected);
  EXPECT_NE(without("second", table + ".second_moment", zero), expected);
  EXPECT_NE(without("decay", "optimizer.value_log_decay", zero), expected);
  // One row's last step, of a row that was used and will be again: it owes another decay then.
  std::size_t differing = 0;
  std::vector<std::int32_t> steps(256);
  std::memcpy(
      steps.data(),
      [&] {
        std::string bytes;
        testing_io::alter_tensor(
            checkpoints("origin") / "0000000004/optimizer.safetensors", table + ".last_step",
            [&](std::span<char> all) { bytes.assign(all.begin(), all.end()); });
        return bytes;
      }()
          .data(),
      1024);
  for (std::size_t row = 0; row < steps.size() && differing == 0; ++row) {
    if (steps[row] == 0 || steps[row] == 4) continue;
    const auto losses =
        without(fmt::format("row{}", row), table + ".last_step", [&](std::span<char> bytes) {
          const std::int32_t other = 4;
          std::memcpy(bytes.data() + 4 * row, &other, 4);
        });
    differing += losses != expected ? 1 : 0;
  }
  EXPECT_EQ(differing, 1U) << "no row's last step was missed";
}

// Checkpoints of before past decay was stored: it is what their own config says.
TEST_F(Checkpoints, AnOlderCheckpointResumesWithTheDecayOfItsConfig) {
  const TrainingRecord whole = train("whole");
  train("run", {}, 4);
  const fs::path folder = checkpoints("run") / "0000000004";
  std::string bytes = file_bytes(folder / "optimizer.safetensors");
  const std::size_t name = bytes.find("optimizer.value_log_decay");
  ASSERT_NE(name, std::string::npos);
  bytes[name] = '_';
  testing_io::write_bytes(folder / "optimizer.safetensors", bytes);
  testing_io::reseal(folder);
  EXPECT_EQ(train("run").losses, std::vector<double>(whole.losses.begin() + 4, whole.losses.end()));
  EXPECT_EQ(error, "");
}

// Every system call of a run's files fails in turn. Whatever happens, the run ends by itself, what
// it leaves resumes without help, and the numbers are those of a run that met no fault.
TEST_F(Checkpoints, AFaultAtEveryCallOfARun) {
  const std::vector<std::string> overrides = {
      "steps=5", "checkpoint.dump.every=1", "checkpoint.dump.keep=2", "checkpoint.retry_minutes=0",
      "checkpoint.increment_share=1"};
  const TrainingRecord whole = train("whole", overrides);
  FaultyFileSystem counting(-1);
  train("count", overrides, 1 << 30, counting);
  ASSERT_GT(counting.operations(), 60);
  int failed_runs = 0;
  for (int at = 0; at < counting.operations(); ++at) {
    const int fault = at % 3 == 0 ? ENOSPC : EIO;
    SCOPED_TRACE(fmt::format("{} at call {}", std::strerror(fault), at));
    const std::string run = "run" + std::to_string(at);
    FaultyFileSystem faulty(at, at % 2 == 0, fault);
    const TrainingRecord first = train(run, overrides, 1 << 30, faulty);
    // It was said, in the error that ended the run or in a notice.
    bool told = error.find(std::strerror(fault)) != std::string::npos;
    for (const std::string& notice : first.notices) {
      told = told || notice.find(std::strerror(fault)) != std::string::npos;
    }
    EXPECT_TRUE(told) << error;
    failed_runs += error.empty() ? 0 : 1;
    for (std::size_t i = 0; i < first.losses.size(); ++i)
      EXPECT_EQ(first.losses[i], whole.losses[i]);
    const NewestCheckpoint left = newest_checkpoint(checkpoints(run));
    EXPECT_TRUE(left.skipped.empty());
    if (first.losses.size() > 1) {
      EXPECT_TRUE(left.checkpoint);
    }
    // And again, on a good disk.
    const TrainingRecord second = train(run, overrides);
    EXPECT_EQ(error, "");
    const std::size_t done =
        left.checkpoint ? static_cast<std::size_t>(left.checkpoint->step()) : 0;
    ASSERT_EQ(second.losses.size(), 5 - done);
    for (std::size_t i = done; i < 5; ++i) EXPECT_EQ(second.losses[i - done], whole.losses[i]);
    EXPECT_EQ(newest_checkpoint(checkpoints(run)).checkpoint->step(), 5);
    fs::remove_all(folder_ / run);
  }
  EXPECT_LT(failed_runs, counting.operations() / 2);  // only those of the start and the last save
}

TEST_F(Checkpoints, AFullDiskIsToldBeforeTheStartAndOutlivedLater) {
  FaultyFileSystem disk(-1);
  disk.room = 1000;
  train("run", {}, 1 << 30, disk);
  EXPECT_NE(error.find("a checkpoint takes"), std::string::npos) << error;
  EXPECT_NE(error.find("has 1000 bytes free"), std::string::npos) << error;
  EXPECT_NE(error.find("checkpoint.path"), std::string::npos) << error;
  train("run", {"checkpoint.dump.every=0"}, 1 << 30, disk);
  EXPECT_EQ(error, "");
  disk.room = 3 << 20;
  EXPECT_TRUE(train("tight", {}, 1 << 30, disk).was_told("lower checkpoint.dump.keep (it is 2)"));
  EXPECT_EQ(error, "");

  // Full for a while in the middle.
  TrainingRecord record;
  disk.room = UINT64_MAX;
  Trainer trainer(config("later", {"checkpoint.dump.every=2"}), {&record}, disk);
  trainer.run([&] {
    disk.room = trainer.step() >= 4 && trainer.step() < 8 ? 1000 : UINT64_MAX;
    return false;
  });
  EXPECT_TRUE(record.was_told("not saved, training goes on and the next save tries again"));
  std::vector<std::int64_t> saved;
  for (const SaveReport& save : record.saves) saved.push_back(save.step);
  EXPECT_EQ(saved, (std::vector<std::int64_t>{2, 8, 10, 12}));
}

// A device that fails is not a disk that is full: what is in memory cannot be trusted any more.
TEST_F(Checkpoints, AnInternalErrorDuringASaveEndsTheRun) {
  struct BrokenDevice : FileSystem {
    Fault fault(Call call, const fs::path& path) override {
      const bool now =
          call == Call::make_folder && path.string().find("saving-0000000008") != std::string::npos;
      if (now) fail_internal("CUDA: an illegal memory access was encountered");
      return {};
    }
  };
  BrokenDevice files;
  const TrainingRecord record = train("run", {}, 1 << 30, files);
  EXPECT_EQ(error, "CUDA: an illegal memory access was encountered");
  EXPECT_EQ(record.losses.size(), 8U) << "it went on";
  EXPECT_EQ(checkpoint_steps(checkpoints("run")), std::vector<std::int64_t>{4});
  const TrainingRecord rest = train("run");
  EXPECT_EQ(error, "");
  EXPECT_EQ(rest.resumed, 4);
}

TEST_F(Checkpoints, ADamagedOneIsNamedAndPassedOverOrRefused) {
  const TrainingRecord whole = train("run");
  fs::copy(folder_ / "run", folder_ / "kept", fs::copy_options::recursive);
  const fs::path file = checkpoints("run") / "0000000012/optimizer.safetensors";
  std::string bytes = file_bytes(file);
  bytes[bytes.size() - 3] ^= 1;
  testing_io::write_bytes(file, bytes);
  train("run", {"checkpoint.skip_damaged=false"});
  EXPECT_NE(error.find("do not match their checksum"), std::string::npos) << error;
  EXPECT_NE(error.find("checkpoint.skip_damaged=true"), std::string::npos) << error;
  const TrainingRecord again = train("run");
  EXPECT_EQ(error, "");
  EXPECT_EQ(again.resumed, 8);
  EXPECT_TRUE(again.was_told("passing over the checkpoint of step 12"));
  EXPECT_NE(file_bytes(folder_ / "run/train.log").find("passing over the checkpoint of step 12"),
            std::string::npos)
      << "what is said before the start belongs to the log too";
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(again.losses[i], whole.losses[i + 8]);
  EXPECT_EQ(newest_checkpoint(checkpoints("run")).checkpoint->step(), 12);
  for (const char* name : {"0000000008", "0000000012"}) {
    fs::remove(checkpoints("kept") / name / "state.json");
  }
  for (const std::int64_t step : checkpoint_steps(checkpoints("kept"))) {
    fs::remove(checkpoints("kept") / checkpoint_name(step) / "state.json");
  }
  train("kept");
  EXPECT_NE(error.find("is whole"), std::string::npos) << error;
}

TEST_F(Checkpoints, WhatMayChangeOnResume) {
  const TrainingRecord whole = train("whole");
  train("run", {}, 4);
  const auto copy = [&](const std::string& to) {
    fs::remove_all(folder_ / to);
    fs::copy(folder_ / "run", folder_ / to, fs::copy_options::recursive);
  };
  // Freely.
  copy("free");
  const TrainingRecord free =
      train("free", {"name=other", "logging.freq=1", "model.productkey_args.zero_copy=true",
                     "data.prefetch_size=3", "checkpoint.dump.every=3", "guard.max_bad_steps=7",
                     "model.productkey_args.gather_path=gpu", "cuda_graph=false"});
  EXPECT_EQ(error, "");
  EXPECT_EQ(free.losses, std::vector<double>(whole.losses.begin() + 4, whole.losses.end()));
  // With a notice.
  copy("noticed");
  const TrainingRecord noticed = train("noticed", {"steps=14", "optim.lr=1e-3"});
  EXPECT_EQ(error, "");
  EXPECT_TRUE(noticed.was_told("steps is 14 from here on; it was 12"));
  EXPECT_TRUE(noticed.was_told("optim.lr is 0.001 from here on; it was 0.01"));
  // Not, unless forced.
  const std::vector<std::vector<std::string>> refused = {
      {"model.dim=16", "model.dim is 16, was 8"},
      {"seed=9", "seed is 9, was 5"},
      {"data.seq_len=15", "data.seq_len is 15, was 16"},
      {"data.seed=9", "data.seed is 9, was 42"},
      {"model.productkey_args.mem_knn=3", "model.productkey_args.mem_knn is 3, was 2"}};
  for (const auto& change : refused) {
    train("run", {change[0]});
    EXPECT_NE(error.find(change[1]), std::string::npos) << error;
    EXPECT_NE(error.find("checkpoint.force_resume"), std::string::npos) << error;
  }
  train("run", {"seed=9", "model.dim=16"});
  EXPECT_NE(error.find("seed is 9, was 5; "), std::string::npos) << "all are named: " << error;
  const TrainingRecord forced =
      train("run", {"seed=9", "model.productkey_args.mem_knn=3", "checkpoint.force_resume=true"});
  EXPECT_EQ(error, "");
  EXPECT_EQ(forced.resumed, 4);
  EXPECT_TRUE(forced.was_told("resumed by force: seed is 9, was 5"));
}

// The same file name, size and number of tokens, with and without a sidecar.
TEST_F(Checkpoints, OtherShardsAreRefusedUnlessForced) {
  const fs::path shard = folder_ / "data/train_000000.bin";
  const fs::path sidecar = folder_ / "data/train_000000.json";
  for (const bool with_sidecar : {true, false}) {
    const std::string run = with_sidecar ? "sidecar" : "plain";
    write_byte_shard(shard, random_walk(500, 250));
    if (!with_sidecar) fs::remove(sidecar);
    train(run, {}, 4);
    EXPECT_EQ(error, "");
    train(run, {"steps=5"});
    EXPECT_EQ(error, "") << "the same shards";
    write_byte_shard(shard, random_walk(500, 251));
    if (!with_sidecar) fs::remove(sidecar);
    train(run);
    EXPECT_NE(error.find("the shards of source data ("), std::string::npos) << error;
    EXPECT_NE(error.find("checkpoint.force_resume=true"), std::string::npos) << error;
    const TrainingRecord forced = train(run, {"checkpoint.force_resume=true"});
    EXPECT_EQ(error, "");
    EXPECT_EQ(forced.resumed, 5);
    EXPECT_TRUE(forced.was_told("resumed by force: the shards of source data"));
    train(run, {"steps=13"});
    EXPECT_EQ(error, "") << "the new shards are the run's from then on";
  }
}

TEST_F(Checkpoints, OneRunAtATimeInAFolderOfCheckpoints) {
  const std::string path = "checkpoint.path=" + (folder_ / "shared").string();
  TrainingRecord record;
  const Trainer holder(config("one", {path}), {&record});
  train("one");
  EXPECT_NE(error.find("another run uses this folder (process "), std::string::npos) << error;
  train("two", {path});
  EXPECT_NE(error.find("another run uses this folder (process "), std::string::npos) << error;
}

TEST_F(Checkpoints, KeysWithoutEffectAreSaid) {
  const TrainingRecord record =
      train("run", {"model.seed=3", "logging.acc_freq=2", "profiling.run=true",
                    "checkpoint.eval.keep=3", "optim.annealing_step=7"});
  EXPECT_EQ(error, "");
  const std::string log = file_bytes(folder_ / "run/train.log");
  for (const char* key : {"model.seed", "logging.acc_freq", "profiling.run", "checkpoint.eval.keep",
                          "optim.annealing_step"}) {
    EXPECT_TRUE(record.was_told(std::string(key) + " has no effect here")) << key;
    EXPECT_NE(log.find(std::string(key) + " has no effect here"), std::string::npos) << key;
  }
}

}  // namespace
}  // namespace memengine
