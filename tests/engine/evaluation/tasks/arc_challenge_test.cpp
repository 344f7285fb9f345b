// The AI2 Reasoning Challenge's challenge part, and the name of both parts.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "engine/evaluation/evaluation.h"
#include "kernels/runtime/error.h"
#include "tests/data.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

TEST(ArcChallenge, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("arc_challenge", {0, 3});
}

TEST(ArcChallenge, TheOriginalFormIsTheSameSet) {
  std::vector<std::string> lines;
  for (const std::string& line : harness_lines("arc_challenge", "test.jsonl")) {
    const Json record = Json::parse(line);
    Json choices = Json::array();
    for (std::size_t i = 0; i < record["choices"]["text"].size(); ++i) {
      choices.push_back(
          {{"text", record["choices"]["text"][i]}, {"label", record["choices"]["label"][i]}});
    }
    lines.push_back(Json{{"id", record["id"]},
                         {"question", {{"stem", record["question"]}, {"choices", choices}}},
                         {"answerKey", record["answerKey"]}}
                        .dump());
  }
  expect_the_same_documents("arc_challenge",
                            "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl", lines);
}

TEST(ArcChallenge, BrokenRecords) {
  const auto error = [](const std::string& choices, const std::string& key) {
    return record_error(
        "arc_challenge", "arc_challenge/test.jsonl",
        R"({"id":"1","question":"q","choices":)" + choices + R"(,"answerKey":")" + key + "\"}");
  };
  EXPECT_NE(error(R"({"text":["a","b"],"label":["A","B"]})", "C").find("no choice has this label"),
            std::string::npos);
  EXPECT_NE(error(R"({"text":["a","b"],"label":["A"]})", "A").find("2 choices have 1 labels"),
            std::string::npos);
  EXPECT_NE(error(R"({"text":["a",""],"label":["A","B"]})", "A").find("a choice is empty"),
            std::string::npos);
  EXPECT_NE(error("[]", "A").find("must be an object"), std::string::npos);
}

TEST(ArcChallenge, ArcMeansBothParts) {
  EXPECT_EQ(evaluation_task_names("arc"), (std::vector<std::string>{"arc_easy", "arc_challenge"}));
  EvalConfig config;
  config.harness.tasks = {{"piqa", {}, {}}, {"arc", 3, 0.5}};
  const std::vector<EvalTask> tasks = asked_tasks(config);
  ASSERT_EQ(tasks.size(), 3U);
  EXPECT_EQ(tasks[2], (EvalTask{"arc_challenge", 3, 0.5}));
  config.harness.tasks.push_back({"arc_easy", {}, {}});
  EXPECT_THROW(asked_tasks(config), Error);
  config.harness.tasks = {{"arch", {}, {}}};
  EXPECT_THROW(asked_tasks(config), Error);
}

}  // namespace
}  // namespace memengine
