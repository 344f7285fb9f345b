// Recall: exact answers, told apart by attribute.
#include <gtest/gtest.h>

#include <functional>

#include "engine/evaluation/evaluate.h"
#include "engine/evaluation/report.h"
#include "kernels/runtime/error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

using Ids = std::vector<std::int32_t>;

// One token a byte, and BOS (256) in front.
Ids encode_bytes(std::string_view text) {
  Ids ids = {256};
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

// Says what a function makes of the prompt.
class Answering : public LanguageModel {
 public:
  Answering(int max_length, std::function<std::string(const std::string&)> answer)
      : max_length_(max_length), answer_(std::move(answer)) {}
  int max_length() const override { return max_length_; }
  std::vector<Loglikelihood> loglikelihoods(std::span<const LoglikelihoodRequest>,
                                            const EvalProgress&) override {
    return {};
  }
  std::vector<std::string> generate(std::span<const GenerationRequest> requests,
                                    const EvalProgress&) override {
    std::vector<std::string> texts;
    for (const GenerationRequest& request : requests) {
      most_tokens = request.max_gen_tokens;
      texts.push_back(answer_({request.prompt.begin() + 1, request.prompt.end()}));
    }
    return texts;
  }
  int most_tokens = 0;

 private:
  int max_length_;
  std::function<std::string(const std::string&)> answer_;
};

std::string without_end(const std::string& prompt) {
  if (prompt == "Anya was born in") return " Princeton. Anya";
  if (prompt == "Ben was born in") return " Rome";  // never ends
  if (prompt == "Ben studied") return "Law.";       // without the space of the answer
  return " Botany and more.";
}

class Recall : public ::testing::Test {
 protected:
  EvalOptions options(const std::string& lines) const {
    folder_.write("asked.jsonl", lines);
    EvalOptions options;
    options.tasks = {{"recall", 0, {}, (folder_ / "asked.jsonl").string(), {}}};
    return options;
  }
  std::string refusal(const std::string& line) const {
    Answering model(64, without_end);
    try {
      evaluate(model, encode_bytes, options(line));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::input);
      return error.what();
    }
    return "";
  }
  TemporaryFolder folder_;
};

constexpr const char* four =
    R"({"prompt":"Anya was born in","answer":" Princeton","attribute":"birth_city"})"
    "\n"
    R"({"prompt":"Ben was born in","answer":" Rome","attribute":"birth_city"})"
    "\n"
    R"({"prompt":"Anya studied","answer":" Botany","attribute":"major"})"
    "\n"
    R"({"prompt":"Ben studied","answer":" Law","attribute":"major"})"
    "\n";

TEST_F(Recall, CountsExactAnswersOfEachAttribute) {
  Answering model(64, without_end);
  EvalOptions asked = options(four);
  asked.max_gen_tokens = 2;  // less than an answer needs: answers are not cut short
  const std::vector<EvalTaskResult> results = evaluate(model, encode_bytes, asked);
  ASSERT_EQ(results.size(), 1u);
  const EvalTaskResult& result = results[0];
  EXPECT_EQ(model.most_tokens, 11 + 4);  // " Princeton." and a few to spare
  ASSERT_EQ(result.metrics.size(), 3u);
  EXPECT_EQ(result.metrics[0].name, "all");
  EXPECT_EQ(result.metrics[0].value, 0.5);
  EXPECT_EQ(result.metrics[0].count, 4u);
  EXPECT_NEAR(*result.metrics[0].standard_error, 0.288675, 1e-6);
  EXPECT_EQ(result.metrics[1].name, "birth_city");
  EXPECT_EQ(result.metrics[1].value, 0.5);
  EXPECT_EQ(result.metrics[1].count, 2u);
  EXPECT_TRUE(result.metrics[1].is_part);
  EXPECT_EQ(result.metrics[2].name, "major");
  EXPECT_EQ(result.samples[2].generated, " Botany and more");
  const std::string table = eval_table(results);
  EXPECT_NE(table.find("recall     all           0.5000"), std::string::npos) << table;
  EXPECT_NE(eval_results_json(results, {}).find("\"birth_city,none\": 0.5"), std::string::npos);
}

TEST_F(Recall, LimitsAndOtherNames) {
  Answering model(64, without_end);
  EvalOptions asked = options(four);
  asked.tasks[0].limit = 1;
  asked.tasks[0].title = "people";
  const std::vector<EvalTaskResult> results = evaluate(model, encode_bytes, asked);
  EXPECT_EQ(results[0].metrics[0].value, 1.0);
  EXPECT_EQ(results[0].available, 4u);
  EXPECT_EQ(results[0].task.name, "people");
}

// No attribute: one figure. A line's end ends an answer too.
TEST_F(Recall, FactsWithoutAttributes) {
  Answering model(64, [](const std::string& prompt) {
    return prompt == "One:" ? std::string(" Rome\nTwo: Bern.") : std::string(" Rome Bern");
  });
  const std::vector<EvalTaskResult> results =
      evaluate(model, encode_bytes,
               options("{\"prompt\":\"One:\",\"answer\":\"Rome\"}\n"
                       "{\"prompt\":\"Two:\",\"answer\":\" Rome Bern\"}\n"));
  ASSERT_EQ(results[0].metrics.size(), 1u);
  EXPECT_EQ(results[0].metrics[0].value, 0.5);  // the second did not end
}

TEST_F(Recall, AQuestionIsNeverCut) {
  Answering tiny(19, without_end);
  try {
    evaluate(tiny, encode_bytes, options(four));
    FAIL();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("asked.jsonl:1: question and answer are 32 tokens, but the model reads "
                           "only 19"),
              std::string::npos)
        << message;
  }
}

TEST_F(Recall, BrokenQuestions) {
  EXPECT_NE(refusal(R"({"prompt":"x","answer":" ","attribute":"a"})").find("asked.jsonl:1"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"","answer":" b","attribute":"a"})").find("needs a prompt"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"x","answer":" St. Ives","attribute":"a"})").find("full stop"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"x","answer":" b","attribute":"all"})").find("not \"all\""),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"x","answer":" b","attribute":"a/b"})").find("attribute"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"x","answer":" b\nc"})").find("line's end"), std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"x","answer":" b","attribute":""})").find("attribute"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"prompt":"x"})").find("\"answer\" is missing"), std::string::npos);
  EXPECT_NE(refusal("\n").find("no records"), std::string::npos);
}

}  // namespace
}  // namespace memengine
