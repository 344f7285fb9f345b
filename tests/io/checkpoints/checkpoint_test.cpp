// Checkpoints: what was saved comes back exactly; a fault at any moment of a save leaves a loadable
// one; damage to any byte is noticed and the checkpoint before is used.
#include "io/checkpoints/checkpoint.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <random>
#include <set>

#include "io/checkpoints/checkpoint_state.h"
#include "tests/io/checkpoints/checkpoint_testing.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;
namespace fs = std::filesystem;

// A small run: two files of tensors whose bytes follow from the step.
struct Saved {
  explicit Saved(std::int64_t step) : step(step) {
    std::mt19937 random(static_cast<unsigned>(step));
    for (std::string& tensor : bytes) {
      for (char& c : tensor) c = static_cast<char>(random());
    }
    state["optimizer"] = {{"step", step}, {"scale", 0.1 * static_cast<double>(step)}};
    state["loader"] = {
        {"position", INT64_C(1) << 60}, {"shuffled", true}, {"source", "a\"\n\xc3\xa9"}};
    state["empty"] = {};
  }

  std::vector<CheckpointFile> files() {
    const auto tensor = [this](std::size_t i, std::string name, std::vector<std::int64_t> shape) {
      return CheckpointTensor{std::move(name), FileDtype::f32, std::move(shape),
                              [this, i](std::uint64_t offset, std::span<std::byte> block) {
                                std::memcpy(block.data(), bytes[i].data() + offset, block.size());
                              }};
    };
    return {{"model.safetensors", {tensor(0, "w", {19, 3}), tensor(1, "b", {99})}},
            {"optimizer.safetensors", {tensor(2, "w.m", {19, 3})}}};
  }

  std::int64_t step;
  std::string bytes[3] = {std::string(228, '?'), std::string(396, '?'), std::string(228, '?')};
  CheckpointState state;
};

constexpr std::size_t block_bytes = 99;

fs::path save(FileSystem& files, const fs::path& root, Saved& run, std::int64_t keep = -1,
              std::set<std::int64_t> damaged = {}) {
  SaveOptions options;
  options.keep = keep;
  options.block_bytes = block_bytes;
  options.threads = 1 + static_cast<std::size_t>(run.step) % 3;
  options.damaged = std::move(damaged);
  return save_checkpoint(files, root, run.step, run.files(), run.state, options).path;
}

fs::path save(const fs::path& root, std::int64_t step, std::int64_t keep = -1) {
  Saved run(step);
  return save(FileSystem::real(), root, run, keep);
}

std::string bytes_of(const Checkpoint& checkpoint, const std::string& name, std::size_t chunk) {
  std::string bytes(checkpoint.find(name)->bytes, '?');
  for (std::size_t at = 0; at < bytes.size(); at += chunk) {
    const std::size_t part = std::min(chunk, bytes.size() - at);
    checkpoint.read(name, at, std::as_writable_bytes(std::span(bytes).subspan(at, part)));
  }
  return bytes;
}

void expect_holds(const Checkpoint& checkpoint, std::int64_t step) {
  const Saved run(step);
  EXPECT_EQ(checkpoint.step(), step);
  EXPECT_EQ(checkpoint.state(), run.state);
  for (const std::size_t chunk : {7u, 99u, 989u}) {
    EXPECT_EQ(bytes_of(checkpoint, "w", chunk), run.bytes[0]);
    EXPECT_EQ(bytes_of(checkpoint, "b", chunk), run.bytes[1]);
    EXPECT_EQ(bytes_of(checkpoint, "w.m", chunk), run.bytes[2]);
  }
}

// The step of the newest whole checkpoint, which is checked; -1 when there is none.
std::int64_t newest_step(const fs::path& root, std::size_t skipped = 0) {
  const NewestCheckpoint newest = newest_checkpoint(root);
  EXPECT_EQ(newest.skipped.size(), skipped);
  if (!newest.checkpoint) return -1;
  expect_holds(*newest.checkpoint, newest.checkpoint->step());
  return newest.checkpoint->step();
}

TEST(Checkpoint, RoundTrip) {
  const TemporaryFolder folder;
  EXPECT_EQ(newest_step(folder / "none"), -1);
  const fs::path path = save(folder / "c", 1000);
  EXPECT_EQ(path.filename(), "0000001000");
  const Checkpoint checkpoint(path);
  expect_holds(checkpoint, 1000);
  EXPECT_EQ(checkpoint.get<double>("optimizer", "scale"), 100.0);
  EXPECT_TRUE(checkpoint.get<bool>("loader", "shuffled"));
  EXPECT_EQ(checkpoint.find("none"), nullptr);
  EXPECT_NE(input_error_of([&] {
              checkpoint.get<bool>("optimizer", "step");
            }).find("no optimizer.step of the expected type"),
            std::string::npos);
  EXPECT_NE(input_error_of([&] { checkpoint.get<bool>("optimiser", "step"); }), "no error");
  std::string much(229, '?');
  EXPECT_NE(
      input_error_of([&] { checkpoint.read("w", 0, std::as_writable_bytes(std::span(much))); }),
      "no error");
  EXPECT_NE(input_error_of([&] { checkpoint.read("x", 0, {}); }), "no error");
  const CheckpointSummary summary = checkpoint.summary();
  EXPECT_EQ(summary.step, 1000);
  ASSERT_EQ(summary.files.size(), 2u);
  EXPECT_EQ(summary.files[0].name, "model.safetensors");
  EXPECT_EQ(summary.files[0].bytes, fs::file_size(path / "model.safetensors"));
  EXPECT_EQ(summary.files[0].tensors.size(), 2u);
  EXPECT_EQ(summary.bytes, summary.files[0].bytes + summary.files[1].bytes);
}

TEST(Checkpoint, SafetensorsReadersTakeItsFiles) {
  const TemporaryFolder folder;
  const SafetensorsReader reader(save(folder / "c", 19));
  EXPECT_EQ(reader.tensors().size(), 2u);
}

TEST(Checkpoint, KeepRemovesTheOldest) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  for (const std::int64_t step : {1, 19, 99}) save(root, step, 2);
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{19, 99}));
  save(root, 989, -1);
  EXPECT_EQ(checkpoint_steps(root).size(), 3u);
  save(root, 20, 1);  // after the others: it stays
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{20}));
  EXPECT_EQ(newest_step(root), 20);
}

TEST(Checkpoint, DamagedOnesDoNotCountTowardsKeep) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  for (const std::int64_t step : {1, 19, 99}) save(root, step);
  // 99 is found damaged by its header, 19 only by reading it all, which a resumed run has done.
  spill(root / "0000000099" / "state.json", "{}");
  std::string bytes = slurp(root / "0000000019" / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  spill(root / "0000000019" / "model.safetensors", bytes);
  Saved run(989);
  save(FileSystem::real(), root, run, 2, {19});
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{1, 19, 99, 989}));
  save(root, 990, 2);  // now two whole ones are newer; whose 99 was cannot be told any more
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{99, 989, 990}));
}

TEST(Checkpoint, AFailedRemovalDoesNotUndoTheSave) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  for (const bool told : {true, false}) {
    fs::remove_all(root);
    save(root, 19);
    FaultyFileSystem counting(-1);
    Saved counted(20);
    save(counting, root, counted, 2);  // without removals: one sync less than with them
    FaultyFileSystem faulty(counting.operations() - 1, false, EACCES);
    Saved run(99);
    SaveOptions options;
    options.keep = 1;
    options.block_bytes = block_bytes;
    std::string trouble;
    const auto call = [&] {
      save_checkpoint(faulty, root, 99, run.files(), run.state, options, told ? &trouble : nullptr);
    };
    EXPECT_EQ(input_error_of(call) == "no error", told);
    EXPECT_EQ(trouble.find("Permission denied") != std::string::npos, told) << trouble;
    EXPECT_EQ(newest_step(root), 99);
  }
}

TEST(Checkpoint, LoadsEveryTensorOnceAndNamesDamage) {
  const TemporaryFolder folder;
  const fs::path path = save(folder / "c", 19);
  for (const std::size_t threads : {1u, 4u}) {
    for (const bool concurrent : {true, false}) {
      const Checkpoint checkpoint(path);
      std::string bytes[3] = {std::string(228, '?'), std::string(396, '?'), std::string(228, '?')};
      std::atomic<std::size_t> written{0};
      std::vector<TensorSink> sinks;
      const char* names[3] = {"w", "b", "w.m"};
      for (int i = 0; i < 3; ++i) {
        sinks.push_back({names[i],
                         [&, i](std::uint64_t offset, std::span<const std::byte> piece) {
                           std::memcpy(bytes[i].data() + offset, piece.data(), piece.size());
                           written += piece.size();
                         },
                         concurrent});
      }
      checkpoint.load(sinks, threads);
      EXPECT_EQ(written, 228u + 396u + 228u);
      for (int i = 0; i < 3; ++i) EXPECT_EQ(bytes[i], Saved(19).bytes[i]);
      sinks.push_back({"none", {}, concurrent});
      EXPECT_NE(input_error_of([&] { checkpoint.load(sinks, threads); }), "no error");
    }
  }
  std::string bytes = slurp(path / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  spill(path / "model.safetensors", bytes);
  const Checkpoint checkpoint(path);
  const TensorSink sink = {"b", [](std::uint64_t, std::span<const std::byte>) {}};
  EXPECT_THROW(checkpoint.load({&sink, 1}, 2), DamagedCheckpoint);
}

TEST(Checkpoint, SavingAStepAgainReplacesIt) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  const fs::path path = save(root, 19);
  spill(path / "model.safetensors", "damaged");
  EXPECT_EQ(newest_step(root, 1), -1);
  save(root, 19);
  EXPECT_EQ(newest_step(root), 19);
  EXPECT_EQ(std::distance(fs::directory_iterator(root), {}), 1);
}

// Every operation of a save fails in turn, with and without half a write having happened.
TEST(Checkpoint, AFaultAnywhereLeavesALoadableCheckpoint) {
  const TemporaryFolder folder;
  for (const std::int64_t second : {19, 99}) {  // 19: the same step is saved again
    for (const bool half : {false, true}) {
      FaultyFileSystem counting(-1);
      {
        const auto root = folder / "count";
        save(root, 19);
        Saved run(second);
        save(counting, root, run, 1);
        fs::remove_all(root);
      }
      ASSERT_GT(counting.operations(), 15);
      for (int at = 0; at < counting.operations(); ++at) {
        const auto root = folder / "c";
        fs::remove_all(root);
        save(root, 19);
        FaultyFileSystem faulty(at, half);
        Saved run(second);
        EXPECT_NE(input_error_of([&] { save(faulty, root, run, 1); }).find(std::strerror(EIO)),
                  std::string::npos);
        const std::int64_t left = newest_step(root);
        EXPECT_TRUE(left == 19 || left == second) << "operation " << at << " left " << left;
        recover_checkpoints(FileSystem::real(), root);
        EXPECT_EQ(newest_step(root), left);
        save(root, 989, 1);
        EXPECT_EQ(newest_step(root), 989);
        EXPECT_EQ(std::distance(fs::directory_iterator(root), {}), 1) << "operation " << at;
      }
    }
  }
}

TEST(Checkpoint, LeftoversOfAKilledSaveAreCleaned) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  save(root, 19);
  fs::create_directories(root / ".saving-0000000099");
  spill(root / ".saving-0000000099" / "model.safetensors", "half");
  fs::create_directories(root / ".removing-0000000001");
  fs::rename(save(root / "elsewhere", 99), root / ".replaced-0000000099");
  fs::remove_all(root / "elsewhere");
  EXPECT_EQ(newest_step(root), 19);
  recover_checkpoints(FileSystem::real(), root);
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{19, 99}));
  EXPECT_EQ(newest_step(root), 99);
  EXPECT_EQ(std::distance(fs::directory_iterator(root), {}), 2);
}

TEST(Checkpoint, AFullDiskIsNoticedBeforeWriting) {
  const TemporaryFolder folder;
  save(folder / "c", 19);
  FaultyFileSystem full(-1);
  full.room = 1000;
  Saved run(99);
  const std::string message = input_error_of([&] { save(full, folder / "c", run); });
  EXPECT_NE(message.find("needs 1.0 MiB and the disk has 1000 bytes free"), std::string::npos)
      << message;
  EXPECT_EQ(newest_step(folder / "c"), 19);
}

TEST(Checkpoint, EveryFlippedByteIsNoticed) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  save(root, 19);
  const fs::path path = save(root, 99);
  std::mt19937 random(3);
  for (const char* name : {"state.json", "model.safetensors", "optimizer.safetensors"}) {
    const std::string whole = slurp(path / name);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      spill(path / name, bytes);
      const NewestCheckpoint newest = newest_checkpoint(root);
      ASSERT_EQ(newest.skipped.size(), 1u) << name << " byte " << at;
      ASSERT_EQ(newest.skipped[0].find('\n'), std::string::npos);
      ASSERT_NE(newest.skipped[0].find("0000000099"), std::string::npos) << newest.skipped[0];
      ASSERT_EQ(newest.checkpoint->step(), 19);
    }
    for (std::size_t size = 0; size < whole.size(); size += 19) {
      spill(path / name, whole.substr(0, size));
      ASSERT_EQ(newest_checkpoint(root).checkpoint->step(), 19) << name << " cut to " << size;
    }
    spill(path / name, whole + " ");
    ASSERT_EQ(newest_checkpoint(root).checkpoint->step(), 19);
    fs::remove(path / name);
    ASSERT_EQ(newest_checkpoint(root).checkpoint->step(), 19);
    spill(path / name, whole);
  }
  EXPECT_EQ(newest_step(root), 99);
  fs::rename(path, root / "0000000100");
  EXPECT_EQ(newest_step(root, 1), 19);
}

TEST(Checkpoint, ShortWritesAreContinued) {
  const TemporaryFolder folder;
  for (const std::uint64_t most : {1, 7, 98}) {
    FaultyFileSystem slow(-1);
    slow.most_bytes = most;
    Saved run(19);
    save(slow, folder / "c", run);
    EXPECT_EQ(newest_step(folder / "c"), 19);
  }
}

// Without a full verify, a read still refuses a damaged block, and only that one.
TEST(Checkpoint, ReadsVerifyTheBlocksTheyTouch) {
  const TemporaryFolder folder;
  const fs::path path = save(folder / "c", 19);
  std::string bytes = slurp(path / "model.safetensors");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  spill(path / "model.safetensors", bytes);
  const Checkpoint checkpoint(path);
  EXPECT_EQ(bytes_of(checkpoint, "w", 19), Saved(19).bytes[0]);
  EXPECT_NE(input_error_of([&] { bytes_of(checkpoint, "b", 19); }).find("checksum"),
            std::string::npos);
}

TEST(CheckpointState, HostileTextIsRefused) {
  StateFile state;
  state.step = 7;
  state.sections["a"] = {{"x", 0.1}, {"whole", 3.0}, {"negative", INT64_MIN}, {"flag", false}};
  state.files["f"] = {10, 4, {1, 2, UINT64_MAX}};
  const std::string text = write_state(state);
  const StateFile again = read_state("s", text);
  EXPECT_EQ(again.sections, state.sections);
  EXPECT_EQ(again.files.at("f").blocks, state.files.at("f").blocks);
  for (const std::string& bad :
       {std::string(), std::string("{}"), std::string("[]"), std::string("null"), text + "\n",
        std::string(100'000, '['), std::string(R"({"format":"memengine checkpoint","version":2})"),
        std::string(R"({"format":3,"version":1})")}) {
    EXPECT_NE(input_error_of([&] { read_state("s", bad); }), "no error") << bad.substr(0, 50);
  }
  state.files["f"].blocks.pop_back();
  EXPECT_NE(input_error_of([&] { read_state("s", write_state(state)); }).find("do not cover"),
            std::string::npos);
  state.files = {{"../f", {0, 4, {}}}};
  EXPECT_NE(input_error_of([&] { read_state("s", write_state(state)); }), "no error");
}

}  // namespace
}  // namespace memengine
