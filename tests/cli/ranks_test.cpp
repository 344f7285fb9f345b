// Runs of several ranks as users start them, with mpirun: what is said, by whom, and how it ends.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "tests/cli/program.h"

namespace memengine {
namespace {

class RankRuns : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("mpirun --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "there is no mpirun";
    folder.write("config.yaml", small_config());
    folder.write("texts.jsonl", small_texts());
    run_well(folder, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"});
    // Leaves its process id before it becomes the program.
    folder.write("rank.sh", "#!/bin/bash\necho $$ > pid.$OMPI_COMM_WORLD_RANK\nexec \"$@\"\n");
  }
  // Exit code of mpirun; what ranks say is in stdout and stderr.
  int as_ranks(int ranks, const std::string& arguments, const std::string& meanwhile = "true") {
    const std::string command =
        "cd " + folder.path().string() +
        " && export OMP_NUM_THREADS=1 && { timeout -k 1 60 mpirun --oversubscribe "
        "--allow-run-as-root -n " +
        std::to_string(ranks) + " bash rank.sh " + MEMENGINE_PROGRAM + " " + arguments +
        " > stdout 2> stderr & } && " + meanwhile + "; wait $!";
    const int status = std::system(("bash -c '" + command + "'").c_str());
    out = file_bytes(folder / "stdout");
    error = file_bytes(folder / "stderr");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  // Lines of ours among mpirun's own.
  int lines_with(const std::string& part) const {
    int count = 0;
    std::istringstream lines(error);
    for (std::string line; std::getline(lines, line);) {
      count += line.starts_with("memengine: ") && line.find(part) != std::string::npos ? 1 : 0;
    }
    return count;
  }

  TemporaryFolder folder;
  std::string out, error;
  const std::string saved =
      "until test -e run/checkpoints/0000000025 || ! kill -0 $! 2> /dev/null; do sleep 0.02; "
      "done; ";
};

TEST_F(RankRuns, TrainAndOnlyRankZeroSpeaks) {
  EXPECT_EQ(as_ranks(3, "train config.yaml steps=30"), 0) << error;
  EXPECT_EQ(lines_with(""), 0) << error;
  std::size_t saves = 0;
  for (std::size_t at = 0; (at = out.find("saved step 30", at)) != out.npos; ++at) ++saves;
  EXPECT_EQ(saves, 1U) << out;
  expect_contains(run_well(folder, {"inspect", "run"}), "every block agrees with its checksum");
  // One process goes on with what three have saved.
  const std::string more =
      run_well(folder, {"train", "config.yaml", "steps=32", "data.batch_size=6"});
  expect_contains(more, "the ranks are 1 from here on; they were 3");
}

TEST_F(RankRuns, AWrongInputIsSaidOnce) {
  EXPECT_EQ(as_ranks(3, "train config.yaml distributed.dp_shard=2"), 2);
  EXPECT_EQ(lines_with("dp_shard=2 does not divide the 3 ranks"), 1) << error;
  EXPECT_EQ(lines_with(""), 1) << error;
  EXPECT_EQ(as_ranks(3, "train config.yaml data.root_dir=nowhere"), 2);
  EXPECT_EQ(lines_with("no folder"), 1) << error;
  EXPECT_EQ(lines_with(""), 1) << error;
}

TEST_F(RankRuns, ASignalAtAnyRankStopsAllAfterTheSameStep) {
  EXPECT_EQ(as_ranks(3, "train config.yaml steps=1000000", saved + "kill -USR1 $(cat pid.2)"),
            128 + SIGUSR1)
      << error;
  expect_contains(out, "the same command goes on from there");
  EXPECT_EQ(lines_with(""), 0) << error;
}

TEST_F(RankRuns, ADeathIsNamedByTheOthersAndTheRunGoesOn) {
  EXPECT_NE(as_ranks(3, "train config.yaml steps=1000000", saved + "kill -9 $(cat pid.1)"), 0);
  EXPECT_EQ(lines_with("rank 1 (process "), 2) << error;
  EXPECT_EQ(lines_with("has died"), 2) << error;
  const std::string all_gone =
      "cd " + folder.path().string() +
      " && for i in {1..150}; do cat $(sed s,.*,/proc/\\&/status, pid.*) 2> "
      "/dev/null | grep -q ^State:.[^Z] || exit 0; sleep 0.1; done; exit 1";
  EXPECT_EQ(std::system(("bash -c '" + all_gone + "'").c_str()), 0) << "a rank still runs";
}

// Log-likelihoods of every item, and so all that follows from them.
TEST_F(RankRuns, EvaluationIsOneRanksToTheDigit) {
  EXPECT_EQ(as_ranks(2, "train config.yaml steps=5"), 0) << error;
  std::string items;
  for (int i = 0; i < 19; ++i) {
    items += "{\"goal\": \"the " + std::string(i % 5, 'q') + " fox\", \"sol1\": \"the lazy" +
             std::string(i % 3, 'x') +
             "\", \"sol2\": \"the quick\", \"label\": " + std::to_string(i % 2) + "}\n";
  }
  folder.write("eval/piqa/validation.jsonl", items);
  folder.write("eval.yaml",
               "device: cpu\nckpt_dir: run\ndata_dir: eval\nharness: {tasks: [piqa]}\n"
               "generator: {dtype: fp32}\n");
  run_well(folder, {"eval", "eval.yaml", "dump_dir=one"});
  for (const int ranks : {2, 3}) {
    const std::string name = "by" + std::to_string(ranks);
    EXPECT_EQ(as_ranks(ranks, "eval eval.yaml dump_dir=" + name), 0) << error;
    EXPECT_EQ(lines_with(""), 0) << error;
    const std::string samples = file_bytes(folder / (name + "/samples_piqa.jsonl"));
    EXPECT_FALSE(samples.empty());
    EXPECT_EQ(samples, file_bytes(folder / "one/samples_piqa.jsonl"));
  }
}

TEST_F(RankRuns, TheBenchmarkComparesThemWithOne) {
  EXPECT_EQ(as_ranks(2, "bench --device cpu --quick --case small_memory"), 0) << error;
  EXPECT_EQ(lines_with(""), 0) << error;
  expect_contains(out, "2 ranks, each on CPU");
  expect_contains(out, "dense gradients");
  expect_contains(out, "row gradients");
  EXPECT_EQ(out.find("small_memory"), out.rfind("small_memory")) << "said by both\n" << out;
  EXPECT_EQ(as_ranks(2, "bench --device cpu --ops"), 2);
  EXPECT_EQ(lines_with("several ranks measure whole steps"), 1) << error;
}

TEST_F(RankRuns, StartedByTheProgramItself) {
  const std::string told = run_well(folder, {"train", "config.yaml", "steps=5", "--ranks", "2"});
  expect_contains(told, "saved step 5");
  expect_contains(run_well(folder, {"train", "config.yaml", "steps=6", "--ranks", "3"}),
                  "the ranks are 3 from here on; they were 2");
  expect_refusal(folder, {"train", "config.yaml", "--ranks", "2", "distributed.dp_shard=3"},
                 {"dp_shard=3 does not divide the 2 ranks"});
  expect_refusal(folder, {"train", "config.yaml", "--ranks", "2", "--gpus", "2"}, {"--gpus"});
  expect_refusal(folder, {"bench", "--ranks", "100000", "--quick"}, {"--ranks 100000", "at most"});
  expect_contains(run_well(folder, {"bench", "--ranks", "2", "--quick", "--case", "small_dense"}),
                  "2 ranks, each on CPU");

  RunningProgram program(
      folder, {"train", "config.yaml", "steps=1000000", "--ranks", "2", "dump_dir=more"});
  ASSERT_TRUE(program.wait_until(
      [&] { return std::filesystem::exists(folder / "more/checkpoints/0000000025"); }));
  program.send(SIGINT);
  const Outcome stopped = program.finish();
  EXPECT_EQ(stopped.code, 128 + SIGINT) << stopped.error;
  expect_contains(stopped.out, "the same command goes on from there");
}

TEST_F(RankRuns, InspectPlansEachRank) {
  const std::string plan = run_well(folder, {"inspect", "config.yaml", "--gpus", "3", "--device",
                                             "cuda", "--gpu-memory", "8GiB"});
  expect_contains(plan, "3 ranks, each on a GPU of its own");
  expect_contains(plan, "a step sends at most");
  expect_refusal(folder, {"inspect", "config.yaml", "--gpus", "3", "distributed.dp_shard=2"},
                 {"dp_shard=2 does not divide the 3 ranks"});
}

}  // namespace
}  // namespace memengine
