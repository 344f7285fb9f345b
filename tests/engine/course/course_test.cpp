// The course: right answers, worked out by hand, are told from wrong ones, and these get the hint
// that is meant for them.
#include "engine/course/chapter.h"

#include <gtest/gtest.h>

#include "kernels/runtime/error.h"

namespace memengine::course {
namespace {

Verdict answer(int chapter, const std::string& text) {
  return find_chapter(chapter).check(text);
}

void expect_right(int chapter, const std::string& text) {
  const Verdict verdict = answer(chapter, text);
  EXPECT_TRUE(verdict.right) << verdict.words;
  EXPECT_NE(verdict.words, "");
}

void expect_hint(int chapter, const std::string& text, const std::string& part) {
  const Verdict verdict = answer(chapter, text);
  EXPECT_FALSE(verdict.right) << text;
  EXPECT_NE(verdict.words.find(part), std::string::npos) << text << ": " << verdict.words;
}

void expect_shown(int chapter, const std::string& part) {
  const std::string text = find_chapter(chapter).example();
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}

TEST(Course, ChaptersAreInOrderAndWhole) {
  int number = 0;
  for (const Chapter& chapter : chapters()) {
    EXPECT_EQ(chapter.number, ++number);
    EXPECT_EQ(std::stoi(chapter.page), number);
    for (const std::string& text :
         {std::string(chapter.title), chapter.example(), chapter.question()}) {
      EXPECT_NE(text, "");
      EXPECT_FALSE(text.ends_with('\n')) << text;
    }
  }
  EXPECT_THROW(find_chapter(99), Error);
}

TEST(Course, AnswersThatAreNotWhatWasAskedForAreRefused) {
  for (const Chapter& chapter : chapters()) {
    for (const char* text : {"", "one", "1 2 3 4 5 6 7 8 9 10 11", "nan", "1e999"}) {
      EXPECT_THROW(chapter.check(text), Error) << chapter.number << ": " << text;
    }
  }
}

TEST(Course, FeedForward) {
  expect_shown(1, "out = 3.93 France + 0.00 Seine");
  expect_right(1, "147456 100663296 200704");
  expect_hint(1, "98304 100663296 200704", "three matrices");
  expect_hint(1, "147456 1 200704", "(b) is (a)");
  expect_hint(1, "147456 100663296 167936", "value_proj");
  expect_hint(1, "147456 100663296 3", "add up");
}

TEST(Course, ProductKeys) {
  expect_shown(2, "row  1 = 0 * 6 + 1");
  expect_shown(2, "begin with rows 1 25 3 13");
  expect_right(2, "7, 9, 17, 5");
  expect_hint(2, "11 21 13 5", "swapped");
  expect_hint(2, "17 7 9 5", "best first");
  expect_hint(2, "7 9 1 5", "staircase");
  expect_hint(2, "7 9 17 9", "all pairs");
  expect_hint(2, "7 9 17 6", "count the pairs");
}

TEST(Course, SixPicks) {
  expect_shown(3, "inverse     1   0   2   1   0   1");
  expect_shown(3, "gradient of row 7 = 0.5 * 1 + 0.75 * 2 + 0.75 * 4 ");
  expect_shown(3, "= 5\n");
  expect_right(3, "[2 1 2 3 1 2 0 2] 4.5");
  expect_hint(3, "6 1 4 0 2 5 7 3 4.5", "that is `order`");
  expect_hint(3, "5 3 5 8 3 5 1 5 4.5", "rows themselves");
  expect_hint(3, "0 1 0 2 1 0 3 0 4.5", "as they come");
  expect_hint(3, "2 1 2 3 1 2 0 0 4.5", "ascending order");
  expect_hint(3, "2 1 2 3 1 2 0 2 4.25", "`inverse` is right");
}

TEST(Course, LazyDecay) {
  expect_shown(4, "picked       0.800000");
  expect_right(4, "1.66098");
  expect_right(4, "1.661");
  expect_hint(4, "1.594541", "step 7's own");
  expect_hint(4, "1.528102", "step 3's decay");
  expect_hint(4, "2", "is what is stored");
  expect_hint(4, "1.5", "multiply 2.0");
}

TEST(Course, RowLife) {
  expect_shown(5, "row 4 moves in at place 0, row 2 goes home");
  expect_shown(5, "1552 bytes to the GPU, 1552 bytes to the host");
  expect_right(5, "9 2 1552 1552");
  expect_hint(5, "4 2 1552 1552", "row 4 is used");
  expect_hint(5, "7 1 1552 1552", "coldest");
  expect_hint(5, "9 3 1552 1552", "guest's place");
  expect_hint(5, "9 1 1552 1552", "takes the place");
  expect_hint(5, "9 2 1808 1552", "cross once");
  expect_hint(5, "9 2 256 1552", "then its record");
  expect_hint(5, "9 2 1552 256", "goes home whole");
}

TEST(Course, ExactMasters) {
  expect_shown(6, "3.14159274   40490fdb   4049    4059");
  expect_right(6, "0x402e -1964");
  expect_hint(6, "0x402d 63572", "not cut off");
  expect_hint(6, "0x4030 1", "upper 16 bits");
  expect_hint(6, "0x402e 63572", "signed number");
  expect_hint(6, "0x402e 1", "minus (hi << 16)");
}

TEST(Course, StepStreams) {
  expect_shown(7, "the step ends at 13.5; with the exchange begun only in finish_step() at 15.25");
  expect_right(7, "12.75 14.25");
  expect_hint(7, "15 14.25", "slow pace");
  expect_hint(7, "11.25 14.25", "waits for the side");
  expect_hint(7, "10.75 14.25", "the longer of the two");
  expect_hint(7, "24 14.25", "three lines");
  expect_hint(7, "12.75 12", "only later");
  expect_hint(7, "12.75 15", "after the norms");
}

TEST(Course, StepRecord) {
  expect_shown(8, "  as an argument of the launch         3     4     4     4");
  expect_shown(8, "  read from memory                     3     4     2     6");
  expect_shown(8, "  as an argument of the launch         0   0.1   0.1   0.1");
  expect_right(8, "2 4 5 7");
  expect_right(8, "7, 5, 4, 2");
  expect_hint(8, "1 2 4 5", "line 1 may stay");
  expect_hint(8, "2 4 5 8", "page-locked");
  expect_hint(8, "2 2 4 5", "four different");
  expect_hint(8, "2 4 5 6.5", "four different");
}

TEST(Course, AttentionTiles) {
  expect_shown(9, "attention_forward: 3.4571 and 5.1293");
  expect_shown(9, "attention_backward: dQ = 0.0312");
  expect_right(9, "5 2.4375 2 1 0");
  expect_hint(9, "4 2.4375 2 1 0", "largest score");
  expect_hint(9, "5 3.375 2 1 0", "shrinks");
  expect_hint(9, "5 2 2 1 0", "sum of 2^(S - m)");
  expect_hint(9, "5 2.4375 0 1 2", "descending");
  expect_hint(9, "5 2.4375 3 2 1", "causal");
  expect_hint(9, "5 2.4375 2 0 1", "blocks 0 to 2");
}

TEST(Course, RowOwners) {
  expect_shown(10, "row 2 at rank 0: 2 of rank 0 + 1 of rank 1 = 3");
  expect_right(10, "2 1 2 512");
  expect_hint(10, "2 1 3 512", "de-duplicate");
  expect_hint(10, "3 1 1 512", "in turn");
  expect_hint(10, "1 2 2 512", "modulo 3");
  expect_hint(10, "2 1 2 640", "own row");
  expect_hint(10, "2 1 2 1024", "FP32");
  expect_hint(10, "2 1 2 256", "128 bytes");
}

TEST(Course, FairComparison) {
  expect_shown(11, "101.50       99.50   2.00 ms faster");
  expect_shown(11, "1151  (+64%)");
  expect_right(11, "7 0.1 -0.2");
  expect_hint(11, "4 0.1 -0.2", "first pair");
  expect_hint(11, "-7 0.1 -0.2", "which mean");
  expect_hint(11, "8 0.1 -0.2", "mean of A's");
  expect_hint(11, "7 0.2 -0.2", "equal steps");
  expect_hint(11, "7 0.1 0.2", "sign");
  expect_hint(11, "7 0.1 0.3", "how many steps");
}

}  // namespace
}  // namespace memengine::course
