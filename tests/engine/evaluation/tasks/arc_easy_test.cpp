// The AI2 Reasoning Challenge's easy part.
#include <gtest/gtest.h>

#include <set>

#include "tests/data.h"
#include "tests/engine/evaluation/tasks/ai2_testing.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

TEST(ArcEasy, EqualsTheHarness) {
  MEMENGINE_REQUIRE_DATA();
  expect_the_harness_answers("arc_easy", {0, 3});
}

TEST(ArcEasy, TheOriginalFormIsTheSameSet) {
  expect_the_same_documents("arc_easy", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl",
                            ai2_original_lines("arc_easy", "question"));
}

TEST(ArcEasy, BrokenRecords) {
  expect_ai2_errors("arc_easy", "question");
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
