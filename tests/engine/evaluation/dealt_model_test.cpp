// Requests that are dealt out come back in their order, each answered once, by whichever rank.
#include "engine/evaluation/dealt_model.h"

#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/ranks.h"

namespace memengine {
namespace {

// Answers by the request alone, and counts.
class CountingModel : public LanguageModel {
 public:
  int max_length() const override { return 99; }
  std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                            const EvalProgress&) override {
    std::vector<Loglikelihood> answers;
    for (const LoglikelihoodRequest& request : requests) {
      contexts.insert(contexts.end(), request.context.begin(), request.context.end());
      answers.push_back({-1.0 / (3 * request.context[0] + request.continuation[0]),
                         request.continuation[0] % 2 == 1});
    }
    return answers;
  }
  std::vector<std::string> generate(std::span<const GenerationRequest> requests,
                                    const EvalProgress&) override {
    std::vector<std::string> texts;
    for (const GenerationRequest& request : requests) {
      texts.push_back(std::string(static_cast<std::size_t>(request.prompt[0] % 5), 'a'));
    }
    answered += requests.size();
    return texts;
  }
  std::vector<std::int32_t> contexts;
  std::size_t answered = 0;
};

TEST(DealtModel, AnswersAreThoseOfOneRank) {
  std::vector<LoglikelihoodRequest> requests;
  std::vector<GenerationRequest> prompts;
  for (std::int32_t i = 0; i < 19; ++i) {
    for (std::int32_t choice = 0; choice < 1 + i % 4; ++choice) {
      requests.push_back({{i + 1}, {choice + 1}});
    }
    prompts.push_back({{i + 1}, {}, 4});
  }
  CountingModel alone;
  const auto expected = alone.loglikelihoods(requests, {});
  const auto texts = alone.generate(prompts, {});
  for (const int ranks : {2, 3, 4}) {
    std::vector<CountingModel> models(static_cast<std::size_t>(ranks));
    on_ranks(ranks, [&](Communicator& communicator) {
      DealtModel dealt(models[static_cast<std::size_t>(communicator.rank())], communicator);
      const auto answers = dealt.loglikelihoods(requests, {});
      ASSERT_EQ(answers.size(), expected.size());
      for (std::size_t i = 0; i < answers.size(); ++i) {
        EXPECT_EQ(answers[i].sum, expected[i].sum);
        EXPECT_EQ(answers[i].is_greedy, expected[i].is_greedy);
      }
      EXPECT_EQ(dealt.generate(prompts, {}), texts);
    });
    std::size_t asked = 0, generated = 0;
    for (std::size_t rank = 0; rank < models.size(); ++rank) {
      asked += models[rank].contexts.size();
      generated += models[rank].answered;
      // A context's choices are one rank's, in turn.
      for (const std::int32_t context : models[rank].contexts) {
        EXPECT_EQ(static_cast<std::size_t>(context - 1) % models.size(), rank);
      }
    }
    EXPECT_EQ(asked, requests.size());
    EXPECT_EQ(generated, prompts.size());
  }
}

TEST(DealtModel, FewerRequestsThanRanks) {
  const std::vector<LoglikelihoodRequest> one = {{{7}, {2}}};
  on_ranks(3, [&](Communicator& communicator) {
    CountingModel model;
    DealtModel dealt(model, communicator);
    EXPECT_EQ(dealt.loglikelihoods(one, {}).front().sum, -1.0 / 23);
    EXPECT_TRUE(dealt.generate({}, {}).empty());
  });
}

}  // namespace
}  // namespace memengine
