// What the tests of the Allen Institute's question sets share.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/engine/evaluation/tasks/harness_answers.h"

namespace memengine {

// The set of harness_answers.h in its original form; `question` names the question's field.
inline std::vector<std::string> ai2_original_lines(const std::string& task,
                                                   const std::string& question) {
  using Json = nlohmann::ordered_json;
  std::vector<std::string> lines;
  for (const std::string& line : harness_lines(task, "test.jsonl")) {
    const Json record = Json::parse(line);
    Json choices = Json::array();
    for (std::size_t i = 0; i < record["choices"]["text"].size(); ++i) {
      choices.push_back(
          {{"text", record["choices"]["text"][i]}, {"label", record["choices"]["label"][i]}});
    }
    lines.push_back(Json{{"id", record["id"]},
                         {"question", {{"stem", record[question]}, {"choices", choices}}},
                         {"answerKey", record["answerKey"]}}
                        .dump());
  }
  return lines;
}

inline void expect_ai2_errors(const std::string& task, const std::string& question) {
  const auto expect = [&](const std::string& choices, const std::string& key, const char* part) {
    const std::string record = R"({"id":"1",")" + question + R"(":"q","choices":)" + choices +
                               R"(,"answerKey":")" + key + "\"}";
    const std::string error = record_error(task, task + "/test.jsonl", record);
    EXPECT_NE(error.find(part), std::string::npos) << error;
  };
  expect(R"({"text":["a","b"],"label":["A","B"]})", "C", "no choice has this label");
  expect(R"({"text":["a","b"],"label":["A"]})", "A", "2 choices have 1 labels");
  expect(R"({"text":["a",""],"label":["A","B"]})", "A", "a choice is empty");
  expect("[]", "A", "must be an object");
}

}  // namespace memengine
