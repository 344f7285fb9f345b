// LAMBADA: the last word, its perplexity, and the bootstrapped error of that.
#include "tests/engine/evaluation/tasks/harness_answers.h"

#include <gtest/gtest.h>

#include "tests/data.h"

namespace memengine {
namespace {

TEST(Lambada, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("lambada_openai", {0, 3});
}

TEST(Lambada, ItsOtherNamesAreTheSameSet) {
  const std::vector<std::string> lines = harness_lines("lambada_openai", "test.jsonl");
  expect_the_same_documents("lambada_openai", "lambada_test_en.jsonl", lines);
  expect_the_same_documents("lambada_openai", "lambada_test.jsonl", lines);
}

TEST(Lambada, TheLastWordIsWhatFollowsTheLastSpace) {
  const Task task = harness_task("lambada_openai");
  EXPECT_EQ(task.documents[8].choices[0], " cake");
  EXPECT_EQ(task.documents[8].question.back(), ' ');  // of two spaces one stays
  EXPECT_EQ(task.documents[9].choices[0], " Rex");
  // A set of one part: a passage can be its own example, and all of them may be drawn.
  EXPECT_EQ(task.shot_split(), "test");
  EXPECT_EQ(build_preambles(task, 20, 20, 1).size(), 20U);
}

TEST(Lambada, BrokenRecords) {
  const auto error = [](const std::string& text) {
    return record_error("lambada_openai", "lambada_openai/test.jsonl",
                        R"({"text":")" + text + "\"}");
  };
  EXPECT_NE(error("word").find("no words before its last"), std::string::npos);
  EXPECT_NE(error(" word").find("no words before its last"), std::string::npos);
}

}  // namespace
}  // namespace memengine
