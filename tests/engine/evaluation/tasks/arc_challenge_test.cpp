// The AI2 Reasoning Challenge's challenge part, and the name of both parts.
#include <gtest/gtest.h>

#include "engine/evaluation/evaluation.h"
#include "kernels/runtime/error.h"
#include "tests/data.h"
#include "tests/engine/evaluation/tasks/ai2_testing.h"

namespace memengine {
namespace {

TEST(ArcChallenge, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("arc_challenge", {0, 3});
}

TEST(ArcChallenge, TheOriginalFormIsTheSameSet) {
  expect_the_same_documents("arc_challenge",
                            "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl",
                            ai2_original_lines("arc_challenge", "question"));
}

TEST(ArcChallenge, BrokenRecords) {
  expect_ai2_errors("arc_challenge", "question");
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
