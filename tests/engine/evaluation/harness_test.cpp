// Item by item against lm-evaluation-harness, on a real trained Llama (stories260K).
//
// The judge was lm_eval 0.4.13 (transformers 5.23.0, PyTorch 2.15.0 on a CPU, batch size 1, its
// other settings the defaults; max_length=1024 for PIQA, one of whose choices has 624 tokens), with
// its own task code on the same JSON lines. tests/engine/evaluation/harness/ holds what it
// answered: for each document the log-likelihoods of its choices (dtype float64), or the generated
// string (float32). Its figures, the same in float32 and float64:
//
//     hellaswag  acc 0.27375 ± 0.015774178354305432   acc_norm 0.25375 ± 0.015394720479706995
//     piqa       acc 0.48956884561891517 ± 0.01318703289135125
//                acc_norm 0.47357440890125174 ± 0.013171469349548211
//     nq_open    exact_match 0 ± 0, 500 questions, 0 and 5 shots
//
// (Its Python 3.11 adds up standard errors without the compensation that 3.12 and we have.)
//
// Its task hashes (over every document, prompt and target) are the constants below.
//
// How near can one come? A text's sum reaches -2000, where neighbouring floats are 1.2e-4 apart:
// the harness's float32 (batch size 1) is more than 1e-4 from its own float64 for 21 of the 2,876
// choices of PIQA (up to 1.8e-4; 0.95e-4 on HellaSwag), and up to 1.8e-4 from itself at batch size
// 16. <task>_float32.txt has what its float32 adds to its float64, in units of 1e-5.
//
// On the CPU our fp32 computes in double with the FP32 weights: within 3.1e-5 of the harness's
// float64 on all 6,076 choices, and within 1e-4 of its float32 on all but 18 (PIQA). Each of these
// 18 is 0.98e-4 or more from its own float64, and ours is nearer to it, which the test asks of
// every such choice.
//
// On a GPU, fp32 keeps activations in FP32 and adds up in double: within 6.3e-5 of the harness's
// float64 on all 6,076 choices (H100; 4.6e-5 on HellaSwag). One more choice of PIQA is further than
// 1e-4 from its float32, which is 7e-5 from its own float64 on the other side.
//
// The full sets take MEMENGINE_FULL_HARNESS=1 in the environment; without it the tests take all of
// HellaSwag and parts of the others, to stay quick.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "engine/evaluation/evaluation.h"
#include "engine/evaluation/scoring/scoring.h"
#include "kernels/runtime/runtime.h"
#include "tests/data.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

bool full() {
  return std::getenv("MEMENGINE_FULL_HARNESS") != nullptr;
}

std::vector<std::string> recorded(const std::string& name) {
  std::ifstream file(fs::path(MEMENGINE_SOURCE_DIR) / "tests/engine/evaluation/harness" /
                     (name + ".txt"));
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// Passes of so small a model are too short for threads to be worth their waiting for each other,
// least of all beside other tests.
struct OneThread {
  int before = omp_get_max_threads();
  OneThread() { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before); }
};

EvalTaskResult run(const std::string& task, std::int64_t shots, double limit, EvalDtype dtype,
                   Device device) {
  const OneThread one_thread;
  EvalConfig config;
  config.data_dir = (test_data_folder() / "eval").string();
  config.generator.dtype = dtype;
  config.generator.max_tokens = 2048;
  if (task == "piqa") config.max_length = 1024;
  config.harness.tasks = {{task, shots, limit}};
  const ModelSource source = find_model(test_data_folder() / "checkpoints/stories260K/hf");
  Evaluation evaluation = run_evaluation(config, source, device);
  return std::move(evaluation.results.front());
}

// {value, standard error} of each metric, as the harness printed them.
void expect_metrics(const EvalTaskResult& result,
                    const std::vector<std::pair<double, double>>& theirs) {
  ASSERT_EQ(result.metrics.size(), theirs.size());
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    EXPECT_EQ(result.metrics[i].value, theirs[i].first);
    EXPECT_NEAR(*result.metrics[i].standard_error, theirs[i].second, 1e-15);
  }
}

// The harness's float32 as well: choices that are further than 1e-4 from it.
void expect_near_float32(double ours, double theirs, double their_rounding, Device device,
                         std::size_t document) {
  if (std::abs(ours - (theirs + their_rounding)) <= 1e-4) return;
  EXPECT_GT(std::abs(their_rounding), device == Device::cpu ? 0.9e-4 : 0.6e-4) << document;
  EXPECT_LT(std::abs(ours - theirs), std::abs(their_rounding)) << document;
}

void expect_choices(const std::string& task, double limit, Device device) {
  const EvalTaskResult result = run(task, 0, limit, EvalDtype::fp32, device);
  const std::vector<std::string> lines = recorded(task);
  const std::vector<std::string> float32 = recorded(task + "_float32");
  ASSERT_LE(result.samples.size(), lines.size());
  ASSERT_EQ(float32.size(), lines.size());
  double worst = 0;
  int above = 0;  // 1e-4
  int choices = 0;
  for (const EvalSample& sample : result.samples) {
    std::istringstream line(lines[sample.document]), rounding(float32[sample.document]);
    const Document& document = result.task.documents[sample.document];
    std::vector<double> theirs;
    for (const Loglikelihood& answer : sample.loglikelihoods) {
      double their_rounding = 0;
      line >> theirs.emplace_back();
      rounding >> their_rounding;
      const double difference = std::abs(answer.sum - theirs.back());
      worst = std::max(worst, difference);
      above += difference > 1e-4 ? 1 : 0;
      ++choices;
      EXPECT_LE(difference, device == Device::cpu ? 4e-5 : 1e-4) << task << " " << sample.document;
      expect_near_float32(answer.sum, theirs.back(), 1e-5 * their_rounding, device,
                          sample.document);
      EXPECT_FALSE(answer.is_greedy);
    }
    // Their predictions are those of their numbers.
    EXPECT_EQ(sample.scores[0], predicted_choice(theirs) == document.gold ? 1.0 : 0.0);
    EXPECT_EQ(sample.scores[1],
              predicted_choice_normalized(theirs, document.choices) == document.gold ? 1.0 : 0.0);
  }
  std::printf("%s on %s: at most %.1e from float64, %d of %d above 1e-4\n", task.c_str(),
              device == Device::cpu ? "the CPU" : "the GPU", worst, above, choices);
  if (task == "hellaswag") {
    ASSERT_EQ(result.samples.size(), 800U);
    EXPECT_EQ(task_hash(result),
              "2cd0d5dcafea3e02a1c9f184bab969e8e16460839ae7c61208ff192817c0f7a1");
    expect_metrics(result, {{0.27375, 0.015774178354305432}, {0.25375, 0.015394720479706995}});
  } else if (result.samples.size() == 1438) {
    EXPECT_EQ(task_hash(result),
              "392a2b2009838f751cba04deb684f37137d1a342214b486658c47ff7be95fe25");
    expect_metrics(result, {{0.48956884561891517, 0.01318703289135125},
                            {0.47357440890125174, 0.013171469349548211}});
  }
}

void expect_strings(int shots, double limit, Device device) {
  const EvalTaskResult result = run("nq_open", shots, limit, EvalDtype::fp32, device);
  const std::vector<std::string> strings = recorded("nq_open_" + std::to_string(shots));
  ASSERT_EQ(strings.size(), 500U);
  for (const EvalSample& sample : result.samples) {
    EXPECT_EQ(sample.generated, strings[sample.document]) << "question " << sample.document;
  }
  EXPECT_EQ(result.metrics[0].value, 0.0);
  EXPECT_NEAR(*result.metrics[0].standard_error, 0.0, 1e-15);
  if (limit < 500) return;
  EXPECT_EQ(task_hash(result),
            shots == 0 ? "f11a5e9b889d3000dd11e93572d0dbd5a875d0decd3d76e425d6b55a0b43c67a"
                       : "b26fe46ebb26343c9df1a91506fb6d776f5e3e8f50d7a7de836e0da7f232e93d");
}

TEST(Harness, HellaSwag) {
  MEMENGINE_REQUIRE_DATA();
  expect_choices("hellaswag", 0, Device::cpu);
}

TEST(Harness, Piqa) {
  MEMENGINE_REQUIRE_DATA();
  expect_choices("piqa", full() ? 0 : 200, Device::cpu);
}

TEST(Harness, NqOpenWithoutShots) {
  MEMENGINE_REQUIRE_DATA();
  expect_strings(0, full() ? 500 : 200, Device::cpu);
}

TEST(Harness, NqOpenWithFiveShots) {
  MEMENGINE_REQUIRE_DATA();
  expect_strings(5, full() ? 500 : 100, Device::cpu);
}

// All sets on a GPU, in seconds.
class HarnessOnTheGpu : public testing::Test {
 protected:
  void SetUp() override {
    MEMENGINE_REQUIRE_DATA();
    if (choose_device("auto") != Device::cuda) GTEST_SKIP() << "needs a GPU";
  }
};

TEST_F(HarnessOnTheGpu, ChoicesInFp32) {
  expect_choices("hellaswag", 0, Device::cuda);
  expect_choices("piqa", 0, Device::cuda);
}

TEST_F(HarnessOnTheGpu, StringsInFp32) {
  expect_strings(0, 500, Device::cuda);
  expect_strings(5, 500, Device::cuda);
}

TEST_F(HarnessOnTheGpu, Bf16IsWithinHalfAPoint) {
  const auto expect_near = [](const std::string& task, double acc, double acc_norm) {
    const EvalTaskResult result = run(task, 0, 0, EvalDtype::bf16, Device::cuda);
    EXPECT_NEAR(result.metrics[0].value, acc, 0.005);
    EXPECT_NEAR(result.metrics[1].value, acc_norm, 0.005);
  };
  expect_near("hellaswag", 0.27375, 0.25375);
  expect_near("piqa", 0.48956884561891517, 0.47357440890125174);
  EXPECT_NEAR(run("nq_open", 5, 0, EvalDtype::bf16, Device::cuda).metrics[0].value, 0, 0.005);
}

}  // namespace
}  // namespace memengine
