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

std::string message_line(const std::string& text) {
  return Error(Error::Kind::input, text).what();
}

TEST(Printable, AMessageLeavesOutTheMiddleOfWhatIsLong) {
  const std::string path(390, 'p');
  EXPECT_EQ(message_line("at " + path + ":\n go"), "at " + path + ":\\n go");
  EXPECT_EQ(message_line(path + " is  no number "), path + " is  no number ");
  EXPECT_EQ(message_line("a '" + std::string(1000, 'x') + "y' b"),
            "a '" + std::string(199, 'x') + "...[703 bytes]..." + std::string(98, 'x') + "y' b");
  // Characters stay whole.
  std::string umlauts;
  for (int i = 0; i < 500; ++i) umlauts += "ä";
  EXPECT_EQ(printable(message_line("." + umlauts)), message_line("." + umlauts));
  // Many words: the beginning and what to do at the end.
  std::string words = "first";
  for (int i = 0; i < 10'000; ++i) words += " word";
  const std::string line = message_line(words + " last");
  EXPECT_LT(line.size(), 2400U);
  EXPECT_TRUE(line.starts_with("first word") && line.ends_with("word last")) << line;
  EXPECT_EQ(message_line(""), "");
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
