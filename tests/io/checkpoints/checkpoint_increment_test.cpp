// Increments: rows over a base read like the whole, the base is kept and must be the right one, and
// damage to either is noticed.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "io/checkpoints/checkpoint.h"
#include "io/checkpoints/checkpoint_state.h"
#include "tests/io/checkpoints/checkpoint_testing.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;
namespace fs = std::filesystem;

constexpr std::int64_t rows = 99;
constexpr std::int64_t row_bytes = 12;

// A table that changes in some rows from save to save, and a tensor beside it.
class Increments : public testing::Test {
 protected:
  Increments() { table.resize(rows * row_bytes), other.resize(19), change_all(); }

  void change_all() {
    for (char& c : table) c = static_cast<char>(random());
    for (char& c : other) c = static_cast<char>(random());
  }
  void change(const std::vector<std::int32_t>& list) {
    for (const std::int32_t row : list) {
      for (std::int64_t i = 0; i < row_bytes; ++i) {
        table[static_cast<std::size_t>(row * row_bytes + i)] = static_cast<char>(random());
      }
    }
    for (char& c : other) c = static_cast<char>(random());
  }
  CheckpointBase save_full(std::int64_t step, std::int64_t keep = -1) {
    SaveOptions options;
    options.keep = keep;
    options.block_bytes = 50;
    const CheckpointFile file = {"model.safetensors",
                                 {tensor("other", FileDtype::u8, {19}, other),
                                  tensor("table", FileDtype::f32, {rows, 3}, table)}};
    return {step,
            save_checkpoint(FileSystem::real(), root, step, {&file, 1}, {}, options).checksum};
  }
  void save_rows(std::int64_t step, const CheckpointBase& base, std::vector<std::int32_t> list,
                 std::int64_t keep = -1) {
    SaveOptions options;
    options.keep = keep;
    options.block_bytes = 40;
    options.threads = 2;
    options.increment = Increment{base, {{"table", "table.rows"}}};
    std::string part;
    for (const std::int32_t row : list) {
      part += table.substr(static_cast<std::size_t>(row * row_bytes), row_bytes);
    }
    const std::string ids(reinterpret_cast<const char*>(list.data()), list.size() * 4);
    const auto count = static_cast<std::int64_t>(list.size());
    const std::vector<CheckpointFile> files = {
        {"model.safetensors", {tensor("other", FileDtype::u8, {19}, other)}},
        {"rows.safetensors",
         {tensor("table.rows", FileDtype::i32, {count}, ids),
          tensor("table", FileDtype::f32, {count, 3}, part)}}};
    save_checkpoint(FileSystem::real(), root, step, files, {}, options);
  }
  fs::path path(std::int64_t step) const { return root / checkpoint_name(step); }

  void expect_holds(std::int64_t step) const {
    const Checkpoint checkpoint(path(step));
    ASSERT_TRUE(checkpoint.find("table"));
    EXPECT_EQ(checkpoint.find("table")->shape, (std::vector<std::int64_t>{rows, 3}));
    for (const std::size_t chunk : {5u, 12u, 50u, 5000u}) {
      std::string bytes(table.size(), '?');
      for (std::size_t at = 0; at < bytes.size(); at += chunk) {
        const std::size_t piece = std::min(chunk, bytes.size() - at);
        checkpoint.read("table", at, std::as_writable_bytes(std::span(bytes).subspan(at, piece)));
      }
      EXPECT_EQ(bytes, table) << "in pieces of " << chunk;
    }
    for (const bool concurrent : {false, true}) {
      std::string loaded(table.size(), '?');
      std::string beside(other.size(), '?');
      const auto sink = [&](const char* name, std::string& to) {
        return TensorSink{name,
                          [&to](std::uint64_t offset, std::span<const std::byte> piece) {
                            std::memcpy(to.data() + offset, piece.data(), piece.size());
                          },
                          concurrent};
      };
      const TensorSink sinks[] = {sink("table", loaded), sink("other", beside)};
      checkpoint.load(sinks, 3);
      EXPECT_EQ(loaded, table);
      EXPECT_EQ(beside, other);
    }
    checkpoint.verify();
  }

  TemporaryFolder folder;
  fs::path root = folder / "c";
  std::mt19937 random{7};
  std::string table, other;
};

TEST_F(Increments, ReadLikeTheWhole) {
  const CheckpointBase base = save_full(10);
  for (const std::vector<std::int32_t>& list :
       {std::vector<std::int32_t>{}, {0}, {98}, {0, 1, 2, 50, 97, 98}}) {
    const std::string before = table;
    change(list);
    save_rows(20, base, list);
    expect_holds(20);
    EXPECT_EQ(Checkpoint(path(20)).base().step, 10);
    EXPECT_EQ(Checkpoint(path(20)).summary().base_step, 10);
    table = before;
  }
}

TEST_F(Increments, TheirBaseStaysAsLongAsItIsNeeded) {
  CheckpointBase base = save_full(10, 2);
  for (const std::int64_t step : {20, 30, 40}) {
    change({3, 5});
    save_rows(step, base, {3, 5}, 2);
  }
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{10, 30, 40}));
  expect_holds(40);
  change_all();
  base = save_full(50, 2);
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{10, 40, 50}));
  change({7});
  save_rows(60, base, {7}, 2);
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{50, 60}));
  change({7, 8});
  save_rows(70, base, {7, 8}, 1);
  EXPECT_EQ(checkpoint_steps(root), (std::vector<std::int64_t>{50, 70}));
  expect_holds(70);
}

TEST_F(Increments, ADamagedOrForeignBaseIsNoticed) {
  const CheckpointBase base = save_full(10);
  change({1, 2});
  save_rows(20, base, {1, 2});
  const std::string whole = slurp(path(10) / "model.safetensors");
  std::string bytes = whole;
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  spill(path(10) / "model.safetensors", bytes);
  EXPECT_EQ(newest_checkpoint(root).skipped.size(), 2U);
  EXPECT_THROW(Checkpoint(path(20)).verify(), DamagedCheckpoint);
  spill(path(10) / "model.safetensors", whole);
  EXPECT_EQ(newest_checkpoint(root).checkpoint->step(), 20);
  change_all();
  save_full(10);  // another one in its place
  EXPECT_NE(input_error_of([&] { Checkpoint{path(20)}; }).find("not the one that it adds to"),
            std::string::npos);
  fs::remove_all(path(10));
  EXPECT_NE(input_error_of([&] { Checkpoint{path(20)}; }).find("needs the full checkpoint of step"),
            std::string::npos);
  EXPECT_THROW(Checkpoint{path(20)}, DamagedCheckpoint);
}

TEST_F(Increments, EveryFlippedByteIsNoticed) {
  const CheckpointBase base = save_full(10);
  change({1, 2, 90});
  save_rows(20, base, {1, 2, 90});
  for (const char* name : {"state.json", "model.safetensors", "rows.safetensors"}) {
    const std::string whole = slurp(path(20) / name);
    for (std::size_t at = 0; at < whole.size(); ++at) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      spill(path(20) / name, bytes);
      ASSERT_EQ(newest_checkpoint(root).checkpoint->step(), 10) << name << " byte " << at;
    }
    spill(path(20) / name, whole);
  }
  EXPECT_EQ(newest_checkpoint(root).checkpoint->step(), 20);
}

// What a program would not have written, with checksums that agree.
TEST_F(Increments, RowsThatDoNotFitAreRefused) {
  const CheckpointBase base = save_full(10);
  for (const std::vector<std::int32_t>& list :
       {std::vector<std::int32_t>{5, 5}, {5, 4}, {-1}, {99}, {INT32_MAX}, {INT32_MIN, 3}}) {
    std::vector<std::int32_t> valid(list.size());
    for (std::size_t i = 0; i < list.size(); ++i) valid[i] = static_cast<std::int32_t>(i);
    save_rows(20, base, valid);
    // The list itself is exchanged, and everything sealed again.
    const std::string before(reinterpret_cast<const char*>(valid.data()), valid.size() * 4);
    const std::string after(reinterpret_cast<const char*>(list.data()), list.size() * 4);
    std::string file = slurp(path(20) / "rows.safetensors");
    const std::size_t data = file.size() - list.size() * row_bytes - before.size();
    file.replace(data, before.size(), after);
    spill(path(20) / "rows.safetensors", file);
    StateFile state = read_state("s", slurp(path(20) / "state.json"));
    BlockChecksums& sums = state.files["rows.safetensors"];
    for (std::size_t i = 0; i < sums.blocks.size(); ++i) {
      const std::string block = file.substr(i * sums.block_bytes, sums.block_bytes);
      sums.blocks[i] = block_checksum(std::as_bytes(std::span(block)));
    }
    spill(path(20) / "state.json", write_state(state));
    EXPECT_NE(input_error_of([&] { Checkpoint{path(20)}; }).find("do not fit the base's"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace memengine
