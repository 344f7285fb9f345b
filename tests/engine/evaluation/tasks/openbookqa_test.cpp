// OpenBookQA.
#include <gtest/gtest.h>

#include "tests/data.h"
#include "tests/engine/evaluation/tasks/ai2_testing.h"

namespace memengine {
namespace {

TEST(OpenBookQa, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("openbookqa", {0, 3});
}

TEST(OpenBookQa, TheOriginalFormIsTheSameSet) {
  expect_the_same_documents("openbookqa", "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl",
                            ai2_original_lines("openbookqa", "question_stem"));
}

TEST(OpenBookQa, BrokenRecords) {
  expect_ai2_errors("openbookqa", "question_stem");
}

}  // namespace
}  // namespace memengine
