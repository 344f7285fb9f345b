// Item by item against lm-evaluation-harness, on a real trained Llama (stories260K).
//
// The judge was lm_eval 0.4.13 (transformers 5.23.0, PyTorch 2.15.0 on a CPU, batch size 1, its
// other settings the defaults; max_length=1024 for PIQA, one of whose choices has 624 tokens), with
// its own task code on the same JSON lines. tests/engine/harness/ holds what it answered: for each
// document the log-likelihoods of its choices (dtype float64), or the generated string (float32).
// Its figures, the same in float32 and float64:
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
// How near can one come? In float32 the harness differs from itself by up to 1.8e-4 (PIQA, batch
// size 1 and 16) and from its own float64 by up to 0.95e-4 (HellaSwag) and 1.8e-4 (PIQA), because
// sums reach -2000. Our FP64 differs from its float64 by at most 3.1e-5 on all 6,076 choices (its
// cosines are rounded in places ours are not), and our FP32 from its float32 by at most 1e-4 but
// for 1 of 3,200 choices on HellaSwag and 24 of 2,876 on PIQA; predictions and strings are all the
// same. To stay quick the test takes all of HellaSwag and parts of the others; the full sets take
// MEMENGINE_FULL_HARNESS=1 in the environment.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "engine/eval/scoring.h"
#include "engine/evaluation.h"
#include "tests/data.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

bool full() {
  return std::getenv("MEMENGINE_FULL_HARNESS") != nullptr;
}

std::vector<std::string> recorded(const std::string& name) {
  // Tests run in the checkout or in its build folder.
  const fs::path here = "tests/engine/harness";
  std::ifstream file((fs::exists(here) ? here : ".." / here) / (name + ".txt"));
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

EvalTaskResult run(const std::string& task, std::int64_t shots, double limit, EvalDtype dtype) {
  const OneThread one_thread;
  EvalConfig config;
  config.data_dir = (test_data_folder() / "eval").string();
  config.generator.dtype = dtype;
  config.generator.max_tokens = 2048;
  if (task == "piqa") config.max_length = 1024;
  config.harness.tasks = {{task, shots, limit}};
  const ModelSource source = find_model(test_data_folder() / "checkpoints/stories260K/hf");
  Evaluation evaluation = run_evaluation(config, source, Device::cpu);
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

void expect_choices(const std::string& task, double limit, EvalDtype dtype, double tolerance) {
  const EvalTaskResult result = run(task, 0, limit, dtype);
  const std::vector<std::string> lines = recorded(task);
  ASSERT_LE(result.samples.size(), lines.size());
  for (const EvalSample& sample : result.samples) {
    std::istringstream line(lines[sample.document]);
    const Document& document = result.task.documents[sample.document];
    std::vector<double> theirs;
    for (const Loglikelihood& answer : sample.loglikelihoods) {
      line >> theirs.emplace_back();
      EXPECT_NEAR(answer.sum, theirs.back(), tolerance) << task << " " << sample.document;
      EXPECT_FALSE(answer.is_greedy);
    }
    // Their predictions are those of their numbers.
    EXPECT_EQ(sample.scores[0], predicted_choice(theirs) == document.gold ? 1.0 : 0.0);
    EXPECT_EQ(sample.scores[1],
              predicted_choice_normalized(theirs, document.choices) == document.gold ? 1.0 : 0.0);
  }
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

void expect_strings(int shots, double limit) {
  const EvalTaskResult result = run("nq_open", shots, limit, EvalDtype::fp32);
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

TEST(Harness, HellaSwagInFp32) {
  MEMENGINE_REQUIRE_DATA();
  expect_choices("hellaswag", 0, EvalDtype::fp32, 2e-4);
}

TEST(Harness, HellaSwagInFp64) {
  MEMENGINE_REQUIRE_DATA();
  if (!full()) GTEST_SKIP() << "takes long: set MEMENGINE_FULL_HARNESS";
  expect_choices("hellaswag", 0, EvalDtype::fp64, 5e-5);
}

TEST(Harness, PiqaInFp64) {
  MEMENGINE_REQUIRE_DATA();
  expect_choices("piqa", full() ? 0 : 200, EvalDtype::fp64, 5e-5);
}

TEST(Harness, NqOpenWithoutShots) {
  MEMENGINE_REQUIRE_DATA();
  expect_strings(0, 500);
}

TEST(Harness, NqOpenWithFiveShots) {
  MEMENGINE_REQUIRE_DATA();
  expect_strings(5, full() ? 500 : 100);
}

}  // namespace
}  // namespace memengine
