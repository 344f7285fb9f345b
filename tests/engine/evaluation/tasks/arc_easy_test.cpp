// The AI2 Reasoning Challenge's easy part.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "tests/data.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

TEST(ArcEasy, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("arc_easy", {0, 3});
}

TEST(ArcEasy, TheOriginalFormIsTheSameSet) {
  std::vector<std::string> lines;
  for (const std::string& line : harness_lines("arc_easy", "test.jsonl")) {
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
  expect_the_same_documents("arc_easy", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl", lines);
}

TEST(ArcEasy, BrokenRecords) {
  const auto error = [](const std::string& choices, const std::string& key) {
    return record_error(
        "arc_easy", "arc_easy/test.jsonl",
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

// As in a table: objects inside records too.
TEST(ArcEasy, FieldsStandInTheOrderOfTheFirstRecord) {
  const TemporaryFolder folder;
  folder.write("arc_easy/test.jsonl",
               R"({"choices":{"label":["A"],"text":["x"]},"question":"q","answerKey":"A"})"
               "\n"
               R"({"answerKey":"B","choices":{"text":["y","z"],"label":["A","B"]},"question":"r"})"
               "\n");
  EXPECT_EQ(load_task("arc_easy", folder.path(), false).documents[1].record,
            R"({"choices":{"label":["A","B"],"text":["y","z"]},"question":"r","answerKey":"B"})");
}

TEST(ArcEasy, LabelsMayBeNumbersAndChoicesThreeToFive) {
  std::set<std::size_t> sizes;
  bool numbers = false;
  for (const Document& document : harness_task("arc_easy").documents) {
    sizes.insert(document.choices.size());
    numbers = numbers || document.record.find(R"("answerKey":"1")") != std::string::npos;
  }
  EXPECT_TRUE(sizes.contains(4) && sizes.size() > 1);
  EXPECT_TRUE(numbers);
}

}  // namespace
}  // namespace memengine
