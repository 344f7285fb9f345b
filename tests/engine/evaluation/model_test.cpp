// Scoring: packed requests against one at a time, and against the probabilities that decoding sees.
#include "engine/evaluation/eval_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/engine/inference/inference_testing.h"

namespace memengine {
namespace {

std::vector<LoglikelihoodRequest> random_requests(std::size_t count) {
  std::mt19937 random(4);
  std::uniform_int_distribution<std::size_t> context(1, 60), continuation(1, 19);
  std::vector<LoglikelihoodRequest> requests;
  for (std::size_t i = 0; i < count; ++i) {
    requests.push_back({random_tokens(random, context(random), 258),
                        random_tokens(random, continuation(random), 258)});
  }
  // Questions with choices: the same context several times.
  for (const std::size_t choices : {4, 2, 7}) {
    const std::vector<std::int32_t> question = random_tokens(random, context(random), 258);
    for (std::size_t i = 0; i < choices; ++i) {
      requests.push_back({question, random_tokens(random, continuation(random), 258)});
    }
  }
  const std::vector<std::int32_t> token = random_tokens(random, 1, 258);
  for (int i = 0; i < 3; ++i) requests.push_back({token, random_tokens(random, 1, 258)});
  requests.push_back({random_tokens(random, 90, 258), random_tokens(random, 10, 258)});
  return requests;
}

class EvalModelVariants : public testing::TestWithParam<const char*> {};

TEST_P(EvalModelVariants, PackingChangesNoScore) {
  const ModelConfig config = tiny_model(GetParam());
  const EndlessTokenizer tokenizer(258);
  const std::vector<LoglikelihoodRequest> requests = random_requests(40);
  ServedModel single(config, inference_rows(99));
  EvalModel one_at_a_time(single.model, tokenizer, 99);
  std::vector<Loglikelihood> expected;
  for (const LoglikelihoodRequest& request : requests) {
    expected.push_back(one_at_a_time.loglikelihoods({&request, 1}, {}).front());
  }
  for (const std::int64_t rows : {99, 131, 989}) {
    ServedModel packed(config, inference_rows(rows));
    EvalModel model(packed.model, tokenizer, 99);
    std::size_t last = 0;
    const auto answers =
        model.loglikelihoods(requests, [&](std::size_t done, std::size_t) { last = done; });
    EXPECT_EQ(last, requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      EXPECT_NEAR(answers[i].sum, expected[i].sum, 1e-5) << "request " << i << ", rows " << rows;
      EXPECT_EQ(answers[i].is_greedy, expected[i].is_greedy);
    }
  }
}

// The shared rows of a context are computed once: fewer passes are needed than without sharing.
TEST(EvalModel, AContextIsReadOnceForAllItsChoices) {
  const EndlessTokenizer tokenizer(258);
  std::mt19937 random(11);
  const std::vector<std::int32_t> question = random_tokens(random, 91, 258);
  std::vector<LoglikelihoodRequest> requests;
  for (int i = 0; i < 4; ++i) requests.push_back({question, random_tokens(random, 9, 258)});
  const auto passes = [&](const ModelConfig& config) {
    ServedModel test(config, inference_rows(126));  // 90 + 4 x 9 rows
    EvalModel model(test.model, tokenizer, 99);
    int count = 0;
    model.loglikelihoods(requests, [&](std::size_t, std::size_t) { ++count; });
    return count;
  };
  ModelConfig config = tiny_model();
  EXPECT_EQ(passes(config), 1);
  config.sliding_window = 256;  // counts rows, so nothing is shared
  EXPECT_EQ(passes(config), 4);
}

TEST(EvalModel, SlidingWindowsAreScoredAsAlone) {
  ModelConfig config = tiny_model("plain");
  config.sliding_window = 13;
  const EndlessTokenizer tokenizer(258);
  const std::vector<LoglikelihoodRequest> requests = random_requests(9);
  ServedModel test(config, inference_rows(300));
  EvalModel model(test.model, tokenizer, 99);
  const auto together = model.loglikelihoods(requests, {});
  for (std::size_t i = 0; i < requests.size(); ++i) {
    EXPECT_NEAR(model.loglikelihoods({&requests[i], 1}, {}).front().sum, together[i].sum, 1e-5);
  }
}

INSTANTIATE_TEST_SUITE_P(Memory, EvalModelVariants,
                         testing::Values("none", "plain", "shared", "batchnorm", "peer"),
                         [](const auto& info) { return std::string(info.param); });

TEST(EvalModel, ScoresAreWhatDecodingSees) {
  const ModelConfig config = tiny_model("shared");
  const EndlessTokenizer tokenizer(258);
  ServedModel test(config, inference_rows(99, 1, 99));
  EvalModel model(test.model, tokenizer, 99);
  std::mt19937 random(5);
  const LoglikelihoodRequest request{random_tokens(random, 20, 258), random_tokens(random, 9, 258)};
  std::vector<std::int32_t> text = request.context;
  text.insert(text.end(), request.continuation.begin(), request.continuation.end());
  double sum = 0;
  std::vector<float> logits;
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    const DecodeRows rows{{text[i]}, {0}, {static_cast<std::int32_t>(i)}, {0}};
    test.model.decode(rows, logits);
    if (i + 1 < request.context.size()) continue;
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));
    sum += logits[static_cast<std::size_t>(text[i + 1])] - std::log(total);
  }
  EXPECT_NEAR(model.loglikelihoods({&request, 1}, {}).front().sum, sum, 1e-4);
}

TEST(EvalModel, GreedyContinuationsAreGreedy) {
  const EndlessTokenizer tokenizer(258);
  ServedModel test(tiny_model(), inference_rows(128, 3, 128));
  EvalModel model(test.model, tokenizer, 128);
  Generator generator(test.model, tokenizer);
  const GenerationPrompt prompt{{4, 9, 17}, 6, {}};
  const std::vector<std::int32_t> greedy = generator.generate({&prompt, 1}, {}).front().tokens;
  std::vector<LoglikelihoodRequest> requests(2, {prompt.tokens, greedy});
  requests[1].continuation[3] = (requests[1].continuation[3] + 1) % 258;
  const auto answers = model.loglikelihoods(requests, {});
  EXPECT_TRUE(answers[0].is_greedy);
  EXPECT_FALSE(answers[1].is_greedy);
  EXPECT_GT(answers[0].sum, answers[1].sum);

  const GenerationRequest request{prompt.tokens, {}, 6};
  EXPECT_EQ(model.generate({&request, 1}, {}).front(), tokenizer.decode(greedy));
}

}  // namespace
}  // namespace memengine
