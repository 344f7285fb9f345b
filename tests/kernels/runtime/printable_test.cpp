// What strangers' texts look like once they are shown, and that every error's message is so.
#include "kernels/runtime/printable.h"

#include <gtest/gtest.h>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

TEST(Printable, TextThatNoTerminalObeysStays) {
  for (const std::string text :
       {"", "plain \\x1b 'quoted'", "Größe 漢字 👩‍🔬 a\u0301"}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_EQ(without_controls(text), text);
  }
}

TEST(Printable, EverythingElseIsAnEscape) {
  EXPECT_EQ(printable("a\nb\rc\td"), "a\\nb\\rc\\td");
  EXPECT_EQ(printable(std::string("\x1b]0;title\x07\0\x7f", 12)), "\\x1b]0;title\\x07\\x00\\x7f");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m"),
            "\\u009b31m");  // CSI as one C1 character
  EXPECT_EQ(printable("ab\u202Egpj\u2028\u2066\u200F"), "ab\\u202egpj\\u2028\\u2066\\u200f");
  // A lone continuation, an overlong '/', half a character, a surrogate, above U+10FFFF.
  EXPECT_EQ(printable("\x9B\xC0\xAF\xE2\x82"), "\\x9b\\xc0\\xaf\\xe2\\x82");
  EXPECT_EQ(printable("\xED\xA0\x80\xF4\x90\x80\x80"), "\\xed\\xa0\\x80\\xf4\\x90\\x80\\x80");
}

TEST(Printable, LinesStayLinesWhereTheyAreOurs) {
  EXPECT_EQ(printable_lines("a\tb\nc\x1b[2J\rd"), "a\tb\nc\\x1b[2J\\rd");
}

TEST(Printable, AModelsTextLosesControls) {
  EXPECT_EQ(without_controls("a\x1b[31mb\nc\td\u0085e\x08\r"), "a[31mb\nc\tde");
  EXPECT_EQ(without_controls("\xFF!"), "\uFFFD!");
}

TEST(Printable, EveryErrorIsOneLine) {
  const Error error(Error::Kind::input, "no task 'piqa\n\x1b[31m' in \xFF.yaml");
  EXPECT_STREQ(error.what(), "no task 'piqa\\n\\x1b[31m' in \\xff.yaml");
  try {
    fail_input("{}: is\rnot there", "a\nb");
  } catch (const Error& thrown) {
    EXPECT_STREQ(thrown.what(), "a\\nb: is\\rnot there");
  }
}

}  // namespace
}  // namespace memengine
