// Whose checkpoints, folders and names in a root are: only what this run wrote is ever removed.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "io/checkpoints/checkpoint.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

using namespace testing_io;
namespace fs = std::filesystem;

void save_small(const fs::path& root, std::int64_t step, const CheckpointState& state,
                const SaveOptions& options, std::string* trouble = nullptr) {
  CheckpointTensor tensor;
  tensor.name = "w";
  tensor.dtype = FileDtype::f32;
  tensor.shape = {3};
  tensor.read = [](std::uint64_t, std::span<std::byte> bytes) {
    std::fill(bytes.begin(), bytes.end(), std::byte{1});
  };
  const CheckpointFile file{"model.safetensors", {tensor}};
  save_checkpoint(FileSystem::real(), root, step, {&file, 1}, state, options, trouble);
}

// What stands in a root and is not this run's: it is not counted, removed or replaced.
TEST(Checkpoint, WhatIsNotOursStays) {
  const TemporaryFolder folder;
  const auto root = folder / "c";
  const auto save_as = [&](const std::string& owner, std::int64_t step, std::string* trouble) {
    SaveOptions options;
    options.keep = 1;
    options.owner = owner;
    save_small(root, step, {}, options, trouble);
  };
  save_as("aaaaaaaaaaaaaaaa", 7, nullptr);  // another run's
  const auto put = [&](const std::string& name) {
    fs::create_directories((root / name).parent_path());
    spill(root / name, name);
  };
  put("0000000001/thesis.tex");
  put("0000000002");  // a file
  fs::create_symlink("0000000003", root / "0000000003");
  fs::create_symlink(folder / "elsewhere", root / "0000000004");
  put(".saving-thesis/part");
  put(".saving-0000000005/part");
  put(".saving-0000000005-aaaaaaaaaaaaaaaa/part");
  put(".removing-0000000006/part");
  put(".replaced-0000000099-notes/part");
  put("0000000013/state.json");
  fs::create_directories(root / "0000000014");
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(root)) {
      found.insert(entry.path().filename().string());
    }
    return found;
  };
  std::set<std::string> expected = names();
  for (const std::int64_t step : {10, 12, 13}) {
    std::string trouble;
    save_as("bbbbbbbbbbbbbbbb", step, &trouble);
    if (step == 13) {
      EXPECT_NE(trouble.find("was not of this run and is now "), std::string::npos) << trouble;
      expected.insert("0000000013.other");
    } else {
      EXPECT_EQ(trouble, "");
      expected.insert(checkpoint_name(step));
    }
    EXPECT_EQ(names(), expected) << step;
    if (step != 13) expected.erase(checkpoint_name(step));
  }
  EXPECT_EQ(slurp(root / "0000000013.other/state.json"), "0000000013/state.json");
  EXPECT_EQ(Checkpoint(root / "0000000007").owner(), "aaaaaaaaaaaaaaaa");
  // A checkpoint with a file of the user's in it stays too.
  spill(root / "0000000013" / "notes.txt", "read me");
  save_as("bbbbbbbbbbbbbbbb", 20, nullptr);
  EXPECT_EQ(slurp(root / "0000000013/notes.txt"), "read me");
  EXPECT_TRUE(fs::exists(root / "0000000020"));
}

TEST(Checkpoint, StateKeepsTextsOfAnyBytes) {
  const TemporaryFolder folder;
  const std::string name("d\xff\0\xc3(\x80", 6);
  save_small(folder / "c", 3, {{"run", {{"name", name}}}}, {});
  EXPECT_EQ(Checkpoint(folder / "c/0000000003").get<std::string>("run", "name"), name);
}

}  // namespace
}  // namespace memengine
