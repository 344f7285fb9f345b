// OpenBookQA.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/data.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

TEST(OpenBookQa, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("openbookqa", {0, 3});
}

TEST(OpenBookQa, TheOriginalFormIsTheSameSet) {
  std::vector<std::string> lines;
  for (const std::string& line : harness_lines("openbookqa", "test.jsonl")) {
    const Json record = Json::parse(line);
    Json choices = Json::array();
    for (std::size_t i = 0; i < record["choices"]["text"].size(); ++i) {
      choices.push_back(
          {{"text", record["choices"]["text"][i]}, {"label", record["choices"]["label"][i]}});
    }
    lines.push_back(Json{{"id", record["id"]},
                         {"question", {{"stem", record["question_stem"]}, {"choices", choices}}},
                         {"answerKey", record["answerKey"]}}
                        .dump());
  }
  expect_the_same_documents("openbookqa", "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl", lines);
}

TEST(OpenBookQa, BrokenRecords) {
  const auto error = [](const std::string& choices, const std::string& key) {
    return record_error("openbookqa", "openbookqa/test.jsonl",
                        R"({"id":"1","question_stem":"q","choices":)" + choices +
                            R"(,"answerKey":")" + key + "\"}");
  };
  EXPECT_NE(error(R"({"text":["a","b"],"label":["A","B"]})", "C").find("no choice has this label"),
            std::string::npos);
  EXPECT_NE(error(R"({"text":["a","b"],"label":["A"]})", "A").find("2 choices have 1 labels"),
            std::string::npos);
  EXPECT_NE(error(R"({"text":["a",""],"label":["A","B"]})", "A").find("a choice is empty"),
            std::string::npos);
  EXPECT_NE(error("[]", "A").find("must be an object"), std::string::npos);
}

}  // namespace
}  // namespace memengine
