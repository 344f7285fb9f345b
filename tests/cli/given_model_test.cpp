// A Hugging Face folder in a user's hands: looked at, continued with, trained from.
#include "tests/cli/program.h"
#include "tests/engine/model_files/tiny_llama.h"

namespace memengine {
namespace {

class GivenModel : public testing::Test {
 protected:
  GivenModel() { write_tiny_llama(folder_, "given", {FileDtype::bf16, 2}); }
  std::vector<std::string> generate(const std::vector<std::string>& more = {}) const {
    std::vector<std::string> words = {"generate",     "given", "--tokenizer",   "bytes",
                                      "--device",     "cpu",   "--prompt",      "a",
                                      "--max-tokens", "3",     "--temperature", "0"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  TemporaryFolder folder_;
};

TEST_F(GivenModel, GenerateSaysHowItComputesHalfPrecision) {
  const Outcome outcome = run_program(folder_, generate());
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.error, "note: the weights are BF16: the CPU computes in FP32\n");
  EXPECT_EQ(run_well(folder_, generate({"--fp32"})), outcome.out);
  std::filesystem::remove_all(folder_ / "given");
  write_tiny_llama(folder_, "given");
  EXPECT_EQ(run_well(folder_, generate()), outcome.out);  // the same numbers, and nothing to say
}

// What inspect says of its sizes is a config that trains from it.
TEST_F(GivenModel, InspectGivesTheConfigThatTrainsFromIt) {
  write_tiny_llama(folder_, "given",
                   {FileDtype::bf16, 2, 16,
                    R"("model_type": "llama", "rope_theta": 500.0, "rms_norm_eps": 1e-6,
                       "rope_scaling": {"rope_type": "linear", "factor": 4.0})"});
  const std::string said = run_well(folder_, {"inspect", "given"});
  expect_contains(said, "20 tensors");
  const std::string begin = "  as a training config has it:\n\n";
  expect_contains(said, begin);
  const std::string section = said.substr(said.find(begin) + begin.size());
  expect_contains(section, "  rope_scaling:\n    type: linear\n");
  std::string text;
  for (int i = 0; i < 60; ++i) text += "One two three four.\n\n";
  folder_.write("text.txt", text);
  run_well(folder_,
           {"prepare", "text.txt", "--tokenizer", "bytes", "--paragraphs", "--out", "data"});
  folder_.write("from.yaml", "name: from\ndump_dir: from\nsteps: 1\ndevice: cpu\n" + section);
  const std::string trained =
      run_well(folder_, {"train", "from.yaml", "data.root_dir=data", "data.sources={text: 1}",
                         "data.batch_size=1", "data.seq_len=16", "data.tokenizer={name: bytes}"});
  expect_contains(trained, "all weights are from a Hugging Face model in given: 20 tensors");
  EXPECT_EQ(trained.find("is not what it was"), std::string::npos) << trained;
  expect_refusal(
      folder_,
      {"train", "from.yaml", "data.root_dir=data", "data.sources={text: 1}", "data.batch_size=1",
       "data.seq_len=16", "data.tokenizer={name: bytes}", "dump_dir=other", "model.dim=32"},
      {"given holds a model of another size", "set model.dim=16"});
}

}  // namespace
}  // namespace memengine
