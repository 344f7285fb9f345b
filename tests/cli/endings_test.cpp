// How commands end when something around them is not as it should be: output that is lost, results
// in the way, sets or vocabulary that are not there.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/cli/program.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class Endings : public testing::Test {
 protected:
  void SetUp() override {
    folder.write("config.yaml", small_config());
    folder.write("texts.jsonl", small_texts());
    run_well(folder, {"prepare", "texts.jsonl", "--tokenizer", "bytes", "--out", "data"});
  }
  void train(const std::string& steps = "steps=3") {
    run_well(folder, {"train", "config.yaml", steps});
  }
  // Exit code with stdout sent elsewhere; stderr in folder / "stderr".
  int with_output_to(const std::string& where, const std::string& arguments) const {
    const std::string command = "cd " + folder.path().string() + " && OMP_NUM_THREADS=1 " +
                                MEMENGINE_PROGRAM + " " + arguments + " > " + where + " 2> stderr";
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void write_piqa() const {
    folder.write("eval/piqa/validation.jsonl",
                 "{\"goal\": \"g\", \"sol1\": \"x\", \"sol2\": \"y\", \"label\": 0}\n");
    folder.write("eval.yaml", "ckpt_dir: run\ndump_dir: out\nharness: {tasks: [piqa]}\n");
  }

  TemporaryFolder folder;
};

TEST_F(Endings, OutputThatIsLostIsNoSuccess) {
  EXPECT_EQ(with_output_to("/dev/full", "train config.yaml steps=3"), 1);
  expect_contains(file_bytes(folder / "stderr"), "the output could not be written: No space left");
  EXPECT_TRUE(fs::exists(folder / "run/checkpoints/0000000003")) << "but the work is done";
  for (const char* command :
       {"inspect config.yaml", "inspect run", "inspect data", "--help", "--version", "train --help",
        "generate run --prompt a", "synth --people 3 --out bio"}) {
    EXPECT_EQ(with_output_to("/dev/full", command), 1) << command;
    EXPECT_FALSE(file_bytes(folder / "stderr").empty()) << command;
  }
  EXPECT_EQ(with_output_to("/dev/null", "train config.yaml dump_dir=other steps=3"), 0);
}

TEST_F(Endings, TheReferencesFormOfACommand) {
  expect_contains(run_well(folder, {"train", "steps=3", "config=config.yaml", "seed=1"}),
                  "step 3/3");
  expect_contains(run_well(folder, {"inspect", "config=config.yaml", "steps=4"}), "4 steps");
}

TEST_F(Endings, AnInspectionSaysWhenHeadsHaveNoKernelOfTheirOwn) {
  const auto heads_of = [&](const std::string& dim, const std::string& dtype) {
    return run_well(folder, {"inspect", "config.yaml", "model.n_heads=2", "model.dim=" + dim,
                             "distributed.model_dtype=" + dtype});
  };
  const std::string words = "take the general kernels";
  expect_contains(heads_of("160", "bf16"), "heads of 80 " + words);
  EXPECT_EQ(heads_of("128", "bf16").find(words), std::string::npos);
  EXPECT_EQ(heads_of("160", "fp32").find(words), std::string::npos) << "none has one in FP32";
}

TEST_F(Endings, EvaluationsDoNotReplaceEachOther) {
  train();
  write_piqa();
  std::string said = run_well(folder, {"eval", "config=eval.yaml"});
  expect_contains(said, "acc_norm");
  EXPECT_EQ(said.find("earlier"), std::string::npos);
  const std::string first = file_bytes(folder / "out/results.json");
  said = run_well(folder, {"eval", "eval.yaml", "generator.dtype=fp32"});
  expect_contains(said,
                  "note: out has the results of an earlier evaluation: they move to out/earlier/1");
  EXPECT_EQ(file_bytes(folder / "out/earlier/1/results.json"), first);
  EXPECT_TRUE(fs::exists(folder / "out/earlier/1/samples_piqa.jsonl"));
  EXPECT_NE(file_bytes(folder / "out/results.json"), first);
  run_well(folder, {"eval", "eval.yaml"});
  EXPECT_TRUE(fs::exists(folder / "out/earlier/2/results.json"));
  // A folder that cannot be, before anything is computed.
  folder.write("a_file", "");
  const Outcome refused = run_program(folder, {"eval", "eval.yaml", "dump_dir=a_file/out"});
  EXPECT_EQ(refused.code, 2);
  EXPECT_EQ(refused.out.find("requests"), std::string::npos) << refused.out;
  expect_refusal(folder, {"eval", "eval.yaml", "dump_dir=''"}, {"dump_dir is missing"});
}

TEST_F(Endings, TasksThatAreNotHereAreLeftOut) {
  train();
  write_piqa();
  expect_contains(run_well(folder, {"eval", "eval.yaml", "harness.tasks=[mmlu, piqa, gsm8k]",
                                    "generator.dtype=fp16"}),
                  "left out, because they are not here: mmlu, gsm8k; there are ");
  expect_refusal(folder, {"eval", "eval.yaml", "harness.tasks=[mmlu]"}, {"no task 'mmlu'", "piqa"});
}

TEST_F(Endings, GenerationSaysWhyItStopsEarly) {
  train();
  const Outcome piped = run_program(
      folder, {"generate", "run", "--prompt", "a", "--max-tokens", "500", "--temperature", "0"});
  EXPECT_EQ(piped.code, 0);
  expect_contains(piped.error, "new tokens: the model reads 33");
  EXPECT_TRUE(piped.out.starts_with("a")) << piped.out;
  EXPECT_EQ(piped.out.find("note"), std::string::npos) << piped.out;
}

// Killed at any moment, an export is either not there or whole: weights that can be loaded are
// those of an undisturbed export, with every file beside them, and the same command goes on.
TEST_F(Endings, AKilledExportIsNotThereOrWhole) {
  run_well(folder, {"train", "config.yaml", "steps=1", "model.productkey_args.mem_n_keys=300"});
  const auto begin = std::chrono::steady_clock::now();
  run_well(folder, {"export", "run", "--out", "whole"});
  const auto duration = std::chrono::steady_clock::now() - begin;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder / "whole")) {
    const std::string name = entry.path().filename().string();
    if (name != ".memengine") names.push_back(name);  // whose folder it is
  }
  std::ranges::sort(names);
  ASSERT_GE(names.size(), 3U);
  const int kills = 24;
  int unfinished = 0;
  for (int i = 0; i < kills; ++i) {
    RunningProgram program(folder, {"export", "run", "--out", "killed"});
    std::this_thread::sleep_for(duration * i / kills);
    program.send(SIGKILL);
    program.finish();
    if (fs::exists(folder / "killed/model.safetensors")) {
      for (const std::string& name : names) {
        EXPECT_EQ(file_bytes(folder / "killed" / name), file_bytes(folder / "whole" / name))
            << name;
      }
      fs::remove_all(folder / "killed");
    } else {
      ++unfinished;
      expect_refusal(folder, {"generate", "killed", "--prompt", "a"}, {"killed"});
    }
  }
  EXPECT_GT(unfinished, 2);
  run_well(folder, {"export", "run", "--out", "killed"});
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder / "killed")) {
    const std::string name = entry.path().filename().string();
    if (name == ".memengine") continue;
    found.push_back(name);
    EXPECT_EQ(file_bytes(entry.path()), file_bytes(folder / "whole" / name)) << name;
  }
  std::ranges::sort(found);
  EXPECT_EQ(found, names);
}

TEST_F(Endings, AVocabularyThatTheTextCannotFill) {
  const std::string said =
      run_well(folder, {"prepare", "texts.jsonl", "--train-tokenizer", "4096", "--out", "small"});
  expect_contains(said, "note: the tokenizer has ");
  expect_contains(said, " pieces, not 4,096: the text holds no more");
}

TEST_F(Endings, DamageCanBeLookedAt) {
  train();
  const std::string path = "run/checkpoints/0000000003/model.safetensors";
  std::string bytes = file_bytes(folder / path);
  bytes[bytes.size() - 3] ^= 1;
  folder.write(path, bytes);
  expect_refusal(folder, {"inspect", "run"}, {"do not match their checksum"});
  expect_contains(run_well(folder, {"inspect", "run", "--no-verify"}), "norm.weight");
}

TEST_F(Endings, ADemoSavesWhatItAsks) {
  const std::string said = run_well(
      folder, {"demo", "--study", (fs::current_path() / "configs/studies/demo.yaml").string(),
               "--out", "demo", "--people", "7", "--passages", "19", "--vocab", "500", "--steps",
               "3", "device=cpu", "data.batch_size=2", "checkpoint.dump.every=0"});
  expect_contains(said, "recalled: all 42 facts");
}

TEST_F(Endings, HomeIsNoFolderCalledTilde) {
  ::setenv("HOME", folder.path().c_str(), 1);
  run_well(folder, {"train", "config.yaml", "dump_dir=~/at_home", "steps=3"});
  run_well(folder, {"synth", "--people", "3", "--out=~/bio"});
  EXPECT_TRUE(fs::exists(folder / "at_home/config.yaml"));
  EXPECT_TRUE(fs::exists(folder / "bio/biographies.jsonl"));
  EXPECT_FALSE(fs::exists(folder / "~"));
}

}  // namespace
}  // namespace memengine
