// memengine course: the list, an example, and what an answer earns.
#include "tests/cli/program.h"

namespace memengine {
namespace {

TEST(CourseCommand, ShowsChaptersAndChecksAnswers) {
  const TemporaryFolder folder;
  expect_contains(run_well(folder, {"course"}), "docs/course/03_six_picks.md");
  expect_contains(run_well(folder, {"course", "3"}), "inverse     1   0   2   1   0   1");
  expect_contains(run_well(folder, {"course", "3", "--answer", "2 1 2 3 1 2 0 2 4.5"}), "Right. ");
  expect_contains(run_well(folder, {"course", "4", "--answer", "1.661"}), "Right. ");
}

TEST(CourseCommand, RefusesWrongAnswersWithAHint) {
  const TemporaryFolder folder;
  expect_refusal(folder, {"course", "3", "--answer", "5 3 5 8 3 5 1 5 4.5"},
                 {"not yet: ", "rows themselves"});
  expect_refusal(folder, {"course", "3", "--answer", "two"}, {"'two' is no number"});
  expect_refusal(folder, {"course", "3", "--answer", std::string(100'000, '7') + "x"},
                 {"'777", "[99", " bytes]", "7x' is no number: eight of"});
  expect_refusal(folder, {"course", std::string(100'000, '7')}, {"[99", " bytes]", "--help"});
  expect_refusal(folder, {"course", "99"}, {"no chapter 99"});
  expect_refusal(folder, {"course", "--answer", "1"}, {"to which chapter"});
}

}  // namespace
}  // namespace memengine
