// The whole job by the program alone: text, shards, training, stopping, going on, looking.
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// The values of `"loss/out":` in metrics.jsonl as written, one per step.
std::vector<std::string> losses(const TemporaryFolder& folder, const std::string& run) {
  const std::string text = file_bytes(folder / (run + "/metrics.jsonl"));
  std::vector<std::string> found;
  const std::string key = "\"loss/out\":";
  for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + 1)) {
    const std::size_t start = at + key.size();
    found.push_back(text.substr(start, text.find_first_of(",}", start) - start));
  }
  return found;
}

TEST(MainJob, BiographiesFromTextToACheckpoint) {
  const TemporaryFolder folder;
  std::string said = run_well(
      folder, {"synth", "--people", "30", "--passages", "3", "--vocab", "400", "--out", "bio"});
  expect_contains(said, "30 people");
  expect_contains(said, "180 questions");
  said = run_well(folder, {"prepare", "bio/biographies.jsonl", "--tokenizer-path",
                           "bio/tokenizer.model", "--validation", "0.1", "--out", "data"});
  expect_contains(said, "data/biographies");
  expect_contains(said, "81 documents");
  EXPECT_EQ(file_bytes(folder / "data/tokenizer.model"),
            file_bytes(folder / "bio/tokenizer.model"));
  said = run_well(folder, {"prepare", "bio/biographies.jsonl", "--tokenizer-path",
                           "bio/tokenizer.model", "--validation", "0.1", "--out", "data"});
  expect_contains(said, "nothing to do");

  folder.write("config.yaml", small_config());
  const std::vector<std::string> train = {"train", "config.yaml", "steps=20", "validation.every=20",
                                          "data.tokenizer={name: sp, path: data/tokenizer.model}"};
  said = run_well(folder, train);
  expect_contains(said, "step 20/20");
  expect_contains(said, "validation at step 20");
  for (const char* name : {"config.yaml", "train.log", "metrics.jsonl"}) {
    EXPECT_TRUE(fs::exists(folder / (std::string("run/") + name))) << name;
  }
  const std::vector<std::string> first = losses(folder, "run");
  ASSERT_EQ(first.size(), 20U);
  EXPECT_LT(std::stod(first.back()), std::stod(first.front()));

  said = run_well(folder, {"inspect", "run"});
  expect_contains(said, "checkpoint of step 20");
  expect_contains(said, "layers.1.feed_forward.values.weight");
  expect_contains(said, "every block agrees");
  said = run_well(folder, {"generate", "run", "--prompt", "Ada was born", "--max-tokens", "5",
                           "--device", "cpu"});
  EXPECT_GT(said.size(), 1U);
  said = run_well(folder, {"inspect", "data", "--sample", "500"});
  expect_contains(said, "81 documents");
  expect_contains(said, "checksums verified");
  expect_contains(said, "born");
  said = run_well(folder, {"inspect", "run/config.yaml", "--device", "cpu"});
  expect_contains(said, "361 rows");
}

// What a run leaves must not depend on how often it was stopped or killed on the way.
class Interrupted : public testing::Test {
 protected:
  void SetUp() override {
    folder.write("config.yaml", small_config());
    folder.write("texts.jsonl", small_texts());
    run_well(folder, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"});
    run_well(folder, {"train", "config.yaml", "dump_dir=whole"});
    ASSERT_EQ(losses(folder, "whole").size(), 100U);
  }

  // Sends `signal` once `due`. On a busy machine the run may end first; then again from the start.
  Outcome interrupt(int signal, const std::function<bool()>& due) {
    for (int attempt = 0; attempt < 20; ++attempt) {
      fs::remove_all(folder / "cut");
      RunningProgram program(folder, train);
      const bool reached = program.wait_until(due);
      program.send(signal);
      Outcome outcome = program.finish();
      if (reached && losses(folder, "cut").size() < 100) return outcome;
    }
    ADD_FAILURE() << "the run always ended before the signal";
    return {};
  }
  void expect_same_as_whole() const {
    EXPECT_EQ(losses(folder, "cut"), losses(folder, "whole"));
    const std::string weights = "/checkpoints/0000000100/model.safetensors";
    EXPECT_EQ(file_bytes(folder / ("cut" + weights)), file_bytes(folder / ("whole" + weights)));
  }

  TemporaryFolder folder;
  const std::vector<std::string> train = {"train", "config.yaml", "dump_dir=cut"};
};

TEST_F(Interrupted, BySignalsItSavesAndGoesOnBitIdentical) {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU}) {
    const Outcome outcome = interrupt(signal, [&] {
      return fs::exists(folder / "cut/metrics.jsonl") && losses(folder, "cut").size() >= 3;
    });
    EXPECT_EQ(outcome.code, 128 + signal) << outcome.error;
    EXPECT_EQ(outcome.error, "stopping after this step, to save; Ctrl-C once more ends at once\n");
    expect_contains(outcome.out, "stopped at step");
    expect_contains(run_well(folder, train), "resumed at step");
    expect_same_as_whole();
  }
}

TEST_F(Interrupted, ASecondSignalEndsItAtOnce) {
  RunningProgram program(folder, {"train", "config.yaml", "dump_dir=cut", "steps=1000000"});
  ASSERT_TRUE(
      program.wait_until([&] { return fs::exists(folder / "cut/checkpoints/0000000025"); }));
  program.stop();  // so that both arrive before it gets to its save
  program.send(SIGTERM);
  program.send(SIGINT);
  program.send(SIGCONT);
  const int code = program.finish().code;
  EXPECT_TRUE(code == 128 + SIGTERM || code == 128 + SIGINT) << code;
  EXPECT_FALSE(fs::exists(folder / "cut/checkpoints/.saving"));
  expect_contains(run_well(folder, {"train", "config.yaml", "dump_dir=cut", "steps=100"}),
                  "resumed at step");
}

// A batch system sends one after the other, a terminal that goes away the same one twice.
TEST_F(Interrupted, TheOthersMayComeTogether) {
  RunningProgram program(folder, {"train", "config.yaml", "dump_dir=cut", "steps=1000000"});
  ASSERT_TRUE(
      program.wait_until([&] { return fs::exists(folder / "cut/checkpoints/0000000025"); }));
  program.send(SIGUSR2);
  ASSERT_TRUE(program.wait_until([&] { return !file_bytes(folder / "stderr").empty(); }))
      << "acknowledged at once";
  for (const int signal : {SIGHUP, SIGHUP, SIGUSR1, SIGXCPU, SIGTERM}) program.send(signal);
  const Outcome outcome = program.finish();
  EXPECT_EQ(outcome.code, 128 + SIGUSR2) << outcome.error;
  expect_contains(outcome.out, "stopped at step");
}

TEST_F(Interrupted, WhatWasIgnoredStaysIgnored) {
  ::signal(SIGHUP, SIG_IGN);  // as nohup does; the program inherits it
  RunningProgram program(folder, {"train", "config.yaml", "dump_dir=cut"});
  const bool running =
      program.wait_until([&] { return fs::exists(folder / "cut/checkpoints/0000000025"); });
  ::signal(SIGHUP, SIG_DFL);
  ASSERT_TRUE(running);
  program.send(SIGHUP);
  EXPECT_EQ(program.finish().code, 0);
  expect_same_as_whole();
}

TEST_F(Interrupted, BySigkillItGoesOnFromTheNewestCheckpoint) {
  const Outcome outcome =
      interrupt(SIGKILL, [&] { return fs::exists(folder / "cut/checkpoints/0000000025"); });
  EXPECT_EQ(outcome.code, 128 + SIGKILL);
  expect_contains(run_well(folder, train), "resumed at step");
  expect_same_as_whole();
}

TEST_F(Interrupted, ADamagedCheckpointIsPassedOver) {
  const fs::path weights = folder / "whole/checkpoints/0000000100/model.safetensors";
  std::string bytes = file_bytes(weights);
  bytes[bytes.size() / 2] ^= 1;
  folder.write("whole/checkpoints/0000000100/model.safetensors", bytes);
  expect_refusal(folder, {"inspect", "whole"}, {"model.safetensors"});
  const std::string said = run_well(folder, {"train", "config.yaml", "dump_dir=whole"});
  expect_contains(said, "resumed at step 75");
  EXPECT_EQ(losses(folder, "whole").size(), 100U);
}

TEST(Prepare, SeveralSourcesBadLinesAndHeldOutFiles) {
  const TemporaryFolder folder;
  folder.write("a/one.jsonl", small_texts());
  folder.write("a/held.jsonl", "{\"text\": \"held out\"}\n");
  folder.write("b.jsonl", "{\"body\": \"one\"}\nnot json\n{\"body\": \"two\"}\n");
  const std::string said =
      run_well(folder, {"prepare", "--source", "a=a", "--validation-input", "a=a/held.jsonl",
                        "--tokenizer", "bytes", "--out", "data", "--text-field", "text",
                        "--text-field", "body", "--source", "b=b.jsonl", "--max-bad-lines", "1"});
  expect_contains(said, "held out for validation: a/held.jsonl");
  expect_contains(said, "1 bad line skipped");
  expect_contains(said, "b.jsonl:2");
  EXPECT_TRUE(fs::exists(folder / "data/a/val_000000.bin"));
  EXPECT_TRUE(fs::exists(folder / "data/b/train_000000.bin"));
}

TEST(Prepare, TrainsATokenizer) {
  const TemporaryFolder folder;
  folder.write("texts.jsonl", small_texts());
  run_well(folder, {"prepare", "texts.jsonl", "--train-tokenizer", "300", "--out", "data"});
  EXPECT_GT(fs::file_size(folder / "data/tokenizer.model"), 0U);
  expect_contains(run_well(folder, {"inspect", "data", "--sample", "8"}), "tokenizer sp");
}

TEST(Program, SaysWhatItIs) {
  const TemporaryFolder folder;
  expect_contains(run_well(folder, {"--version"}), "memengine ");
  const std::string help = run_well(folder, {"--help"});
  for (const char* command : {"prepare", "train", "eval", "generate", "export", "inspect", "synth"})
    expect_contains(help, command);
  expect_contains(run_well(folder, {"prepare", "--help"}), "--train-tokenizer");
}

}  // namespace
}  // namespace memengine
