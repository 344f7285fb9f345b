// What a text fills of a terminal's line.
#include "engine/run/display_width.h"

#include <gtest/gtest.h>

namespace memengine {
namespace {

TEST(DisplayWidth, CountsCharactersAsATerminalShowsThem) {
  EXPECT_EQ(display_width(""), 0U);
  EXPECT_EQ(display_width("loss 4.25"), 9U);
  EXPECT_EQ(display_width("ёжик"), 4U);
  EXPECT_EQ(display_width("小説"), 4U);
  EXPECT_EQ(display_width("e\u0301"), 1U);
  EXPECT_EQ(display_width("a\xFF\xFE"), 3U) << "each invalid byte is shown as one U+FFFD";
}

TEST(DisplayWidth, CutsBetweenCharacters) {
  EXPECT_EQ(fit_text("loss", 4), "loss");
  EXPECT_EQ(fit_text("loss 4", 4), "los…");
  EXPECT_EQ(fit_text("小説家", 4), "小…") << "half a letter is none";
  EXPECT_EQ(fit_text("ёжик в тумане", 6), "ёжик …");
  EXPECT_EQ(fit_text("anything", 0), "anything");
  EXPECT_EQ(fit_text("anything", 1), "…");
}

}  // namespace
}  // namespace memengine
