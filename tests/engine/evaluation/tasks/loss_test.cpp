// The loss on windows of tokens: what is asked of the model, and the mean of what it answers.
#include <gtest/gtest.h>

#include <cmath>

#include "engine/evaluation/corpus/token_windows.h"
#include "engine/evaluation/evaluate.h"
#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

// A token's loss is a tenth of its id, and what the model read is kept.
class TenthsModel : public LanguageModel {
 public:
  int max_length() const override { return 4; }
  std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest> requests,
                                            const EvalProgress& progress) override {
    std::vector<Loglikelihood> answers;
    for (const LoglikelihoodRequest& request : requests) {
      std::vector<std::int32_t> all = request.context;
      all.insert(all.end(), request.continuation.begin(), request.continuation.end());
      EXPECT_EQ(request.context.size(), 1u);
      EXPECT_LE(all.size(), 5u);
      double sum = 0;
      for (const std::int32_t token : request.continuation) sum -= token / 10.0;
      answers.push_back({sum, false});
      read.push_back(all);
    }
    if (progress) progress(requests.size(), requests.size());
    return answers;
  }
  std::vector<std::string> generate(std::span<const GenerationRequest>,
                                    const EvalProgress&) override {
    return {};
  }
  std::vector<std::vector<std::int32_t>> read;
};

class LossTask : public ::testing::Test {
 protected:
  LossTask() : tokenizer_(load_tokenizer("bytes", {})) {
    settings_.tokenizer = tokenizer_.get();
    settings_.model.vocab_size = tokenizer_->vocab_size();
    settings_.length = 4;
    settings_.key = "path of loss";
    settings_.model_name = "a model";
    settings_.add_eos = false;
  }
  EvalTaskResult measure(const std::string& path, std::optional<double> limit = {}) {
    EvalOptions options;
    options.tasks = {{"loss", 5, limit, path, {}}};  // examples mean nothing to a loss
    options.open_windows = [&](const std::string& where) {
      return open_token_windows(settings_, where);
    };
    model_.read.clear();
    return evaluate(model_, {}, options).front();
  }
  std::string refusal(const std::string& path) {
    try {
      measure(path);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::input);
      return error.what();
    }
    return "";
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  TemporaryFolder folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  WindowSettings settings_;
  TenthsModel model_;
};

TEST_F(LossTask, EveryTokenOfATextButTheFirstIsATargetOnce) {
  const std::int32_t bos = tokenizer_->bos_id();
  folder_.write("text.jsonl", "{\"text\": \"abcde\"}\n{\"text\": \"fg\"}\n");
  const EvalTaskResult result = measure(path("text.jsonl"));
  EXPECT_EQ(model_.read, (std::vector<std::vector<std::int32_t>>{{bos, 'a', 'b', 'c', 'd'},
                                                                 {'d', 'e', bos, 'f', 'g'}}));
  const double nats = ('a' + 'b' + 'c' + 'd' + 'e' + bos + 'f' + 'g') / 10.0;
  ASSERT_EQ(result.metrics.size(), 3u);
  EXPECT_EQ(result.metrics[0].name, "loss");
  EXPECT_NEAR(result.metrics[0].value, nats / 8, 1e-12);
  EXPECT_FALSE(result.metrics[0].higher_is_better);
  EXPECT_NEAR(result.metrics[1].value, std::exp(nats / 8), std::exp(nats / 8) * 1e-12);
  EXPECT_EQ(result.metrics[2].name, "bits_per_byte");
  EXPECT_NEAR(result.metrics[2].value, nats / std::log(2.0) / 7, 1e-12);
  // Two windows of as many tokens: the error of their mean.
  const double a = ('a' + 'b' + 'c' + 'd') / 40.0, b = ('e' + bos + 'f' + 'g') / 40.0;
  EXPECT_NEAR(*result.metrics[0].standard_error, std::abs(a - b) / 2, 1e-12);
  EXPECT_EQ(result.num_fewshot, 0);
  EXPECT_EQ(result.available, 2u);
}

TEST_F(LossTask, TheLastWindowOfATextMayBeShort) {
  folder_.write("text.txt", "abcdef");
  const EvalTaskResult result = measure(path("text.txt"));
  ASSERT_EQ(model_.read.size(), 2u);
  EXPECT_EQ(model_.read[1], (std::vector<std::int32_t>{'d', 'e', 'f'}));
  EXPECT_NEAR(result.metrics[0].value, ('a' + 'b' + 'c' + 'd' + 'e' + 'f') / 60.0, 1e-12);
  const EvalTaskResult half = measure(path("text.txt"), 1.0);
  EXPECT_EQ(model_.read.size(), 1u);
  EXPECT_EQ(half.metrics.size(), 2u) << "bits per byte are of the whole text";
}

TEST_F(LossTask, DocumentsDoNotSeeEachOtherUnderTheMask) {
  settings_.model.document_mask = true;
  const std::int32_t bos = tokenizer_->bos_id();
  folder_.write("text.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c\"}\n{\"text\": \"defg\"}\n");
  const EvalTaskResult masked = measure(path("text.jsonl"));
  EXPECT_EQ(model_.read,
            (std::vector<std::vector<std::int32_t>>{
                {bos, 'a', 'b', bos}, {bos, 'c'}, {'c', bos}, {bos, 'd', 'e', 'f'}, {'f', 'g'}}));
  settings_.model.document_mask = false;
  EXPECT_NEAR(measure(path("text.jsonl")).metrics[0].value, masked.metrics[0].value, 1e-12);
}

TEST_F(LossTask, WhatIsWrongIsSaid) {
  EXPECT_NE(refusal(path("nowhere")).find("path of loss: nothing at"), std::string::npos);
  EXPECT_NE(refusal("").find("a model: the model does not say what it was trained on"),
            std::string::npos);
  folder_.write("short.txt", "");
  EXPECT_NE(refusal(path("short.txt")).find("short.txt"), std::string::npos);
  folder_.write("empty/readme.md", "x");
  EXPECT_NE(refusal(path("empty")).find("empty"), std::string::npos);
  folder_.write("x.bin", "not a shard");
  EXPECT_NE(refusal(path("x.bin")).find("x.bin"), std::string::npos);
}

}  // namespace
}  // namespace memengine
