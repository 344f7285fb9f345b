// The demo at its smallest: its table, going on after a stop, starting again, refusing strangers.
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Tests run in the repository's root; the program runs elsewhere.
std::vector<std::string> demo(std::vector<std::string> more) {
  std::vector<std::string> words = {"demo",
                                    "--study",
                                    (fs::current_path() / "configs/studies/demo.yaml").string(),
                                    "--out",
                                    "demo",
                                    "--people",
                                    "7",
                                    "--passages",
                                    "19",
                                    "--vocab",
                                    "500",
                                    "device=cpu",
                                    "data.batch_size=2"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// The two columns of the table's row that starts with `title`.
std::pair<std::string, std::string> row(const std::string& said, const std::string& title) {
  const std::size_t at = said.find("  " + title);
  if (at == std::string::npos) {
    ADD_FAILURE() << "no row '" << title << "' in:\n" << said;
    return {};
  }
  const std::string line = said.substr(at, said.find('\n', at) - at);
  const std::string columns = line.substr(2 + title.size());
  std::istringstream words(columns);
  std::pair<std::string, std::string> found;
  words >> found.first >> found.second;
  return found;
}

TEST(Demo, ComparesTwoModelsOfEqualCostAndStartsAgain) {
  const TemporaryFolder folder;
  for (int round = 0; round < 2; ++round) {
    const std::string said = run_well(folder, demo({"--steps", "3"}));
    EXPECT_EQ(said.find("going on"), std::string::npos) << said;
    expect_contains(said, "step 3/3");
    expect_contains(said, "recalled: all 42 facts");
    expect_contains(said, "the truth");
    const auto [dense, memory] = row(said, "training FLOPs per token");
    EXPECT_NEAR(std::stod(memory) / std::stod(dense), 1.0, 0.03) << said;
    EXPECT_EQ(row(said, "parameters, value table").first, "-");
    EXPECT_GT(std::stod(row(said, "held-out loss, nats per token").second), 0) << said;
  }
  for (const char* name :
       {"text/questions.jsonl", "data/tokenizer.model", "results/dense-seed42/metrics.jsonl",
        "results/memory-seed42/result.json", "runs/memory-seed42/config.yaml", "report.html"}) {
    EXPECT_TRUE(fs::exists(folder / (std::string("demo/") + name))) << name;
  }
}

// The study for a GPU, on the CPU here: three models, one of them in seconds.
TEST(Demo, TheGpusStudyTellsOfADenseModelOfAsManySeconds) {
  const TemporaryFolder folder;
  auto words = demo({"--steps", "2", "data.seq_len=64", "distributed.model_dtype=fp32",
                     "model.productkey_args.mem_n_keys=40"});
  words[2] = (fs::current_path() / "configs/studies/demo_gpu.yaml").string();
  const std::string said = run_well(folder, words);
  expect_contains(said, "recalled: all 42 facts");
  expect_contains(said, ", which trained for ");
  EXPECT_EQ(row(said, "parameters, value table").first, "-");
}

TEST(Demo, GoesOnAfterCtrlC) {
  const TemporaryFolder folder;
  const auto call = demo({"--steps", "30", "logging.freq=1"});
  RunningProgram first(folder, call);
  ASSERT_TRUE(first.wait_until([&] {
    return file_bytes(folder / "demo/runs/dense-seed42/train.log").find("step  2") !=
           std::string::npos;
  }));
  first.send(SIGINT);
  const Outcome stopped = first.finish();
  EXPECT_EQ(stopped.code, 128 + SIGINT) << stopped.error;
  expect_contains(stopped.out, "stopped; the same command goes on");
  const std::string said = run_well(folder, call);
  expect_contains(said, "going on");
  expect_contains(file_bytes(folder / "demo/runs/dense-seed42/train.log"), "resumed at step");
  expect_contains(said, "recalled: all 42 facts");
}

TEST(Demo, RefusesFoldersAndConfigsThatAreNotIts) {
  const TemporaryFolder folder;
  folder.write("demo/data/mine.txt", "keep me");
  expect_refusal(folder, demo({}), {"demo: holds 'data' and is not the folder of a study"});
  EXPECT_EQ(file_bytes(folder / "demo/data/mine.txt"), "keep me");
  expect_refusal(folder, demo({"model.dimm=8"}), {"dimm"});
}

TEST(Demo, AFolderOfAnEarlierVersionStartsAgain) {
  const TemporaryFolder folder;
  folder.write("demo/demo.state", "people: 7\n");
  folder.write("demo/dense/config.yaml", "name: demo_dense\n");
  expect_contains(run_well(folder, demo({"--steps", "2"})), "recalled: all 42 facts");
  EXPECT_FALSE(fs::exists(folder / "demo/dense"));
  EXPECT_FALSE(fs::exists(folder / "demo/demo.state"));
}

TEST(Demo, TheStudyGoesOnWithTheOtherSeeds) {
  const TemporaryFolder folder;
  auto words = demo({"--steps", "2"});
  run_well(folder, words);
  const std::vector<std::string> study = {"study",      words[2],           "--out",     "demo",
                                          "people=7",   "passages=19",      "vocab=500", "steps=2",
                                          "device=cpu", "data.batch_size=2"};
  const std::string said = run_well(folder, study);
  expect_contains(said, "2 of 6 runs are done already");
  expect_contains(said, "6 of 6 runs are done");
}

}  // namespace
}  // namespace memengine
