// Checkpoints that several ranks write together: they read as one rank's, whoever wrote them, and a
// fault of any rank at any moment leaves those before as they were.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"
#include "tests/io/checkpoints/checkpoint_testing.h"
#include "tests/io/io_testing.h"
#include "tests/support/ranks.h"

namespace memengine {
namespace {

using namespace testing_io;
namespace fs = std::filesystem;

constexpr std::int64_t whole_rows = 101;
constexpr std::int64_t whole_row_bytes = 12;

// A table that is spread over the ranks, and a tensor beside it that rank 0 has.
class RankCheckpoints : public testing::Test {
 protected:
  RankCheckpoints() : table(whole_rows * whole_row_bytes, '?'), other(19, '?') {
    for (std::int64_t row = 0; row < whole_rows; ++row) change(row);
  }
  void change(std::int64_t row) {
    for (std::int64_t i = 0; i < whole_row_bytes; ++i) {
      table[static_cast<std::size_t>(row * whole_row_bytes + i)] = static_cast<char>(random());
    }
    for (char& c : other) c = static_cast<char>(random());
  }
  std::string rows_of(const std::vector<std::int32_t>& list) const {
    std::string bytes;
    for (const std::int32_t row : list) {
      bytes += table.substr(static_cast<std::size_t>(row * whole_row_bytes), whole_row_bytes);
    }
    return bytes;
  }
  static std::vector<std::int32_t> owned(int rank, int ranks) {
    std::vector<std::int32_t> list;
    for (std::int32_t row = rank; row < whole_rows; row += ranks) list.push_back(row);
    return list;
  }

  // Saves as `ranks` ranks, with `faulty` as the disk of rank `faulty_rank`; all the same errors.
  void save(std::int64_t step, int ranks, FileSystem& faulty = FileSystem::real(),
            int faulty_rank = -1, std::optional<Increment> increment = {},
            const std::vector<std::int32_t>& changed = {}) {
    const bool done = on_ranks(ranks, [&](Communicator& communicator) {
      const int rank = communicator.rank();
      SaveOptions options;
      options.block_bytes = 40 + 10 * static_cast<std::size_t>(rank);
      options.threads = 2;
      options.owner = "0123456789abcdef";
      options.ranks = &communicator;
      options.increment = increment;
      options.keep = 2;
      std::vector<CheckpointFile> files;
      if (rank == 0) {
        files.push_back({"model.safetensors", {tensor("other", FileDtype::u8, {19}, other)}});
      }
      std::vector<std::int32_t> list = owned(rank, ranks);
      const std::string name = fmt::format("table-{}-of-{}.safetensors", rank, ranks);
      if (increment) {
        std::erase_if(list, [&](std::int32_t row) {
          return std::find(changed.begin(), changed.end(), row) == changed.end();
        });
      }
      const auto count = static_cast<std::int64_t>(list.size());
      CheckpointFile part{name, {tensor("table", FileDtype::f32, {count, 3}, rows_of(list))}, true};
      if (increment) {
        const std::string ids(reinterpret_cast<const char*>(list.data()), list.size() * 4);
        part.tensors.push_back(tensor("table.rows", FileDtype::i32, {count}, ids));
      }
      files.push_back(std::move(part));
      std::string trouble;
      const SavedCheckpoint saved =
          save_checkpoint(rank == faulty_rank ? faulty : FileSystem::real(), root, step, files,
                          {{"run", {{"step", step}}}}, options, &trouble);
      EXPECT_EQ(saved.checksum, Checkpoint(saved.path).checksum()) << "on rank " << rank;
      checksums[static_cast<std::size_t>(rank)] = saved.checksum;
    });
    ASSERT_TRUE(done) << "these tests are of threads";
  }

  void expect_holds(std::int64_t step, const std::string& expected) const {
    const Checkpoint checkpoint(root / checkpoint_name(step));
    checkpoint.verify();
    ASSERT_EQ(checkpoint.find("table")->shape, (std::vector<std::int64_t>{whole_rows, 3}));
    for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, std::size_t{989}}) {
      std::string bytes(expected.size(), '?');
      for (std::size_t at = 0; at < bytes.size(); at += chunk) {
        const std::size_t part = std::min(chunk, bytes.size() - at);
        checkpoint.read("table", at, std::as_writable_bytes(std::span(bytes).subspan(at, part)));
      }
      EXPECT_EQ(bytes, expected) << "chunks of " << chunk;
    }
    // As each of some number of ranks reads it: all its own rows are there.
    for (const std::int64_t ranks : {1, 2, 3, 4, 6}) {
      for (std::int64_t rank = 0; rank < ranks; ++rank) {
        for (const bool concurrent : {true, false}) {
          std::string loaded(expected.size(), '?');
          TensorSink sink{"table", {}, concurrent, rank, ranks};
          sink.write = [&](std::uint64_t offset, std::span<const std::byte> bytes) {
            std::memcpy(loaded.data() + offset, bytes.data(), bytes.size());
          };
          checkpoint.load({&sink, 1}, 3);
          for (std::int64_t row = rank; row < whole_rows; row += ranks) {
            const auto at = static_cast<std::size_t>(row * whole_row_bytes);
            ASSERT_EQ(loaded.substr(at, whole_row_bytes), expected.substr(at, whole_row_bytes))
                << "row " << row << " of rank " << rank << " of " << ranks;
          }
        }
      }
    }
  }

  TemporaryFolder folder;
  fs::path root = folder / "checkpoints";
  std::mt19937 random{7};
  std::string table, other;
  std::string checksums[4];
};

TEST_F(RankCheckpoints, ReadTheSameWhoeverWroteThem) {
  for (const int ranks : {1, 2, 3, 4}) {
    fs::remove_all(root);
    save(ranks, ranks);
    expect_holds(ranks, table);
    for (int rank = 1; rank < ranks; ++rank) EXPECT_EQ(checksums[rank], checksums[0]);
  }
}

TEST_F(RankCheckpoints, IncrementsStandOnABaseOfAnyNumberOfRanks) {
  for (const auto& [before, after] :
       {std::pair(2, 2), std::pair(3, 1), std::pair(1, 4), std::pair(2, 3)}) {
    fs::remove_all(root);
    save(1, before);
    const Increment increment{{1, checksums[0]}, {{"table", "table.rows"}}};
    const std::vector<std::int32_t> changed = {0, 3, 4, 50, 99, 100};
    const std::string full = table;
    for (const std::int32_t row : changed) change(row);
    save(2, after, FileSystem::real(), -1, increment, changed);
    expect_holds(1, full);
    expect_holds(2, table);
  }
}

TEST_F(RankCheckpoints, AFaultOfAnyRankLeavesTheCheckpointBefore) {
  save(1, 3);
  const std::string full = table;
  for (int rank = 0; rank < 3; ++rank) {
    int faults = 0;
    for (int at = 0;; ++at) {
      FaultyFileSystem disk(at);
      change(at % whole_rows);
      const std::string mine = table;
      std::string error;
      try {
        save(2, 3, disk, rank);
      } catch (const Error& failure) {
        EXPECT_EQ(failure.kind(), Error::Kind::input);
        error = failure.what();
      }
      for (const auto& entry : fs::directory_iterator(root)) {
        EXPECT_FALSE(entry.path().filename().string().starts_with(".saving")) << error;
      }
      ASSERT_EQ(newest_checkpoint(root).skipped, std::vector<std::string>());
      if (error.empty()) {
        expect_holds(2, mine);
        fs::remove_all(root / checkpoint_name(2));
        break;
      }
      ++faults;
      // The first is whole; the second is not there, or whole where the fault came after its name.
      EXPECT_EQ(checkpoint_steps(root).front(), 1);
      if (checkpoint_steps(root).size() > 1) fs::remove_all(root / checkpoint_name(2));
    }
    EXPECT_GE(faults, rank == 0 ? 8 : 3) << "rank " << rank;
    expect_holds(1, full);
  }
}

TEST_F(RankCheckpoints, PartsThatDoNotFitAreDamage) {
  save(1, 2);
  const fs::path path = root / checkpoint_name(1);
  const std::string state = slurp(path / "state.json");
  const auto refusal = [&] { return input_error_of([&] { Checkpoint checkpoint(path); }); };
  // In the wrong order: the parts have 51 and 50 rows.
  reseal(path, [](StateFile& file) { std::swap(file.spread[0], file.spread[1]); });
  EXPECT_NE(refusal().find("do not make one tensor"), std::string::npos) << refusal();
  reseal(path, [](StateFile& file) { file.spread.push_back("model.safetensors"); });
  EXPECT_NE(refusal().find("has no part of tensor 'table'"), std::string::npos) << refusal();
  spill(path / "state.json", state);
  fs::remove(path / "table-1-of-2.safetensors");
  EXPECT_NE(refusal().find("table-1-of-2.safetensors"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace memengine
