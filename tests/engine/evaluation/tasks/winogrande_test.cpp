// WinoGrande: the choices stand in the context.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/data.h"

namespace memengine {
namespace {

using Json = nlohmann::ordered_json;

TEST(WinoGrande, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("winogrande", {0, 3});
}

TEST(WinoGrande, TheOriginalFormIsTheSameSet) {
  std::vector<std::string> lines;
  for (const std::string& line : harness_lines("winogrande", "validation.jsonl")) {
    Json record = {{"qID", "3XU9MCX6-2"}};
    record.update(Json::parse(line));
    lines.push_back(record.dump());
  }
  expect_the_same_documents("winogrande", "winogrande_1.1/dev.jsonl", lines);
}

TEST(WinoGrande, BrokenRecords) {
  const auto error = [](const std::string& sentence, const std::string& answer) {
    return record_error("winogrande", "winogrande/validation.jsonl",
                        R"({"sentence":")" + sentence +
                            R"(","option1":"a","option2":"b","answer":)" + answer + "}");
  };
  EXPECT_NE(error("no gap", R"("1")").find("no blank"), std::string::npos);
  EXPECT_NE(error("all of _  ", R"("1")").find("nothing follows"), std::string::npos);
  EXPECT_NE(error("a _ .", R"("3")").find("\"1\" or \"2\""), std::string::npos);
  EXPECT_NE(error("a _ .", R"("")").find("\"1\" or \"2\""), std::string::npos);
  EXPECT_NE(error("a _ .", "1").find("must be a string"), std::string::npos);
}

}  // namespace
}  // namespace memengine
