// BoolQ in its three forms.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/data.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

TEST(BoolQ, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("boolq", {0, 3});
}

TEST(BoolQ, TheOriginalFormsAreTheSameSet) {
  std::vector<std::string> superglue, original;
  for (const std::string& line : harness_lines("boolq", "validation.jsonl")) {
    Json record = Json::parse(line);
    record["label"] = record["label"] == 1;
    superglue.push_back(record.dump());
    original.push_back(Json{{"question", record["question"]},
                            {"title", "A title"},
                            {"answer", record["label"]},
                            {"passage", record["passage"]}}
                           .dump());
  }
  expect_the_same_documents("boolq", "BoolQ/val.jsonl", superglue);
  expect_the_same_documents("boolq", "boolq/dev.jsonl", original);
}

TEST(BoolQ, BrokenRecords) {
  const auto error = [](const std::string& label) {
    return record_error("boolq", "boolq/validation.jsonl",
                        R"({"question":"q","passage":"p","idx":0)" + label + "}");
  };
  EXPECT_NE(error(R"(,"label":-1)").find("from 0 to 1"), std::string::npos);
  EXPECT_NE(error(R"(,"label":"yes")").find("from 0 to 1"), std::string::npos);
  EXPECT_NE(error("").find("\"label\" is missing"), std::string::npos);
}

}  // namespace
}  // namespace memengine
