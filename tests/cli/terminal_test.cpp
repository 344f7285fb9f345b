// Training in a real pseudo-terminal: what its user sees in windows of several widths.
#include <pty.h>

#include "engine/run/display_width.h"
#include "tests/cli/program.h"

namespace memengine {
namespace {

// What a program wrote to a terminal of `columns`: every state of the line that was rewritten, and
// the lines that stayed.
struct Screen {
  int code = -1;
  std::vector<std::string> drawn, lines;
};

Screen run_in_terminal(const TemporaryFolder& folder, unsigned short columns,
                       const std::vector<std::string>& arguments) {
  std::vector<char*> words = {const_cast<char*>(MEMENGINE_PROGRAM)};
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  int terminal = -1;
  winsize size{40, columns, 0, 0};
  const pid_t child = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (child == 0) {
    ::setenv("OMP_NUM_THREADS", "1", 1);
    if (::chdir(folder.path().c_str()) == 0) ::execv(words[0], words.data());
    ::_exit(127);
  }
  std::string bytes;
  char block[4096];
  for (ssize_t count; (count = ::read(terminal, block, sizeof(block))) > 0;) {
    bytes.append(block, static_cast<std::size_t>(count));
  }
  ::close(terminal);
  int status = 0;
  ::waitpid(child, &status, 0);

  Screen screen;
  screen.code = WEXITSTATUS(status);
  const std::string erase = "\x1b[K";
  std::string line;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    if (bytes.compare(at, erase.size(), erase) == 0) {
      if (!line.empty()) screen.drawn.push_back(line);
      line.clear();
      at += erase.size() - 1;
    } else if (bytes[at] == '\n') {
      screen.lines.push_back(line);
      line.clear();
    } else if (bytes[at] != '\r') {
      line += bytes[at];
    }
  }
  return screen;
}

class TerminalTest : public testing::Test {
 protected:
  TerminalTest() {
    folder_.write("texts.jsonl", small_texts());
    folder_.write("config.yaml", small_config());
    run_well(folder_, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--validation", "0.2",
                       "--out", "data"});
  }
  TemporaryFolder folder_;
};

TEST_F(TerminalTest, LossAndTimeLeftAreSeenInEveryWindowAndStay) {
  for (const unsigned short columns : {60, 80, 120, 200}) {
    SCOPED_TRACE(columns);
    // Every report is followed by a save, which must not wipe it away.
    const Screen screen =
        run_in_terminal(folder_, columns,
                        {"train", "config.yaml", "steps=40", "logging.freq=20",
                         "checkpoint.dump.every=20", "dump_dir=run" + std::to_string(columns)});
    EXPECT_EQ(screen.code, 0);
    for (const std::string& line : screen.drawn) EXPECT_LT(display_width(line), columns) << line;
    int kept = 0;
    for (std::size_t i = 0; i + 1 < screen.lines.size(); ++i) {
      if (!screen.lines[i + 1].starts_with("saved step")) continue;
      ++kept;
      EXPECT_TRUE(screen.lines[i].starts_with("step " + std::to_string(20 * kept) + "/40  loss"))
          << screen.lines[i];
      EXPECT_NE(screen.lines[i].find("  left "), std::string::npos) << screen.lines[i];
      if (columns >= 80) {
        EXPECT_NE(screen.lines[i].find("  KL "), std::string::npos);
      }
    }
    EXPECT_EQ(kept, 2);
  }
}

TEST_F(TerminalTest, TheFirstStepsAreShownLongBeforeTheFirstReport) {
  const Screen screen = run_in_terminal(
      folder_, 100,
      {"train", "config.yaml", "steps=2000", "logging.freq=100000", "checkpoint.dump.every=0"});
  EXPECT_EQ(screen.code, 0);
  ASSERT_GE(screen.drawn.size(), 1U);
  EXPECT_TRUE(screen.drawn.front().starts_with("step    1/2000  loss")) << screen.drawn.front();
}

TEST_F(TerminalTest, AValidationSetSmallerThanABatchIsCounted) {
  const std::string said = run_well(
      folder_, {"train", "config.yaml", "steps=4", "data.batch_size=64", "validation.every=4"});
  const std::size_t at = said.find("validation at step 4: loss ");
  ASSERT_NE(at, std::string::npos) << said;
  const std::string line = said.substr(at, said.find('\n', at) - at);
  EXPECT_NE(line.find(" of 361 ("), std::string::npos) << line;
  EXPECT_EQ(line.find("rows 0 "), std::string::npos) << line;
  EXPECT_EQ(line.find("nan"), std::string::npos) << line;
  expect_contains(said, "the CPU computes in FP32");
}

TEST_F(TerminalTest, MetricsCarryTheRunsNameAndTheTime) {
  run_well(folder_, {"train", "config.yaml", "steps=3", "name=\"a \\\"b\\\"\""});
  const std::string metrics = file_bytes(folder_ / "run/metrics.jsonl");
  EXPECT_EQ(std::count(metrics.begin(), metrics.end(), '\n'), 3);
  EXPECT_TRUE(
      metrics.starts_with("{\"global_step\": 1, \"name\": \"a \\\"b\\\"\", "
                          "\"created_at\": \"20"))
      << metrics;
}

TEST_F(TerminalTest, ACheckpointFitsAScreen) {
  run_well(folder_, {"train", "config.yaml", "steps=2", "model.n_layers=16",
                     "model.productkey_args.layers='1,5,9'",
                     "model.productkey_args.mem_share_values=false"});
  const std::string few = run_well(folder_, {"inspect", "run"});
  EXPECT_LE(std::count(few.begin(), few.end(), '\n'), 36) << few;
  expect_contains(few, "layers.1,5,9.feed_forward.values.weight");
  expect_contains(few, "3 x F32  [361, 32]");
  expect_contains(few, "layers.0,2-4,6-8,10-15.feed_forward");
  const std::string all = run_well(folder_, {"inspect", "run", "--tensors"});
  EXPECT_GT(std::count(all.begin(), all.end(), '\n'), 400);
  expect_contains(all, "layers.15.attention.wq.weight.second_moment");
}

TEST_F(TerminalTest, AStartFromOtherWeightsSaysWhatItTook) {
  run_well(folder_, {"train", "config.yaml", "steps=2", "name=first", "dump_dir=first"});
  const std::string said =
      run_well(folder_, {"train", "config.yaml", "steps=1", "checkpoint.init_ckpt_path=first"});
  expect_contains(said,
                  "all weights are from the checkpoint of step 2 of run first in "
                  "first/checkpoints/0000000002");
  expect_contains(said, "30 tensors of 49536 numbers");  // the 11,552 of the value table among them
  EXPECT_EQ(said.find("another tokenizer"), std::string::npos);
}

TEST_F(TerminalTest, PlansForAMachineThatIsNotHere) {
  const std::vector<std::string> inspect = {"inspect", "config.yaml", "--device", "cuda"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), inspect.begin(), inspect.end());
    return more;
  };
  const std::string fits =
      run_well(folder_, with({"--gpu-memory", "80GiB", "--host-memory", "128GiB"}));
  expect_contains(fits, "memory for training on a GPU");
  expect_contains(fits, "it fits in what was told");
  expect_contains(run_well(folder_, with({"--gpu-memory", "1MiB"})), "it does not fit");
  expect_refusal(folder_, with({"--gpu-memory", "large"}), {"--gpu-memory", "80GiB"});
}

}  // namespace
}  // namespace memengine
