// Scores and Python's text methods, against values that the harness's own functions give.
#include "engine/evaluation/scoring/scoring.h"
#include "engine/evaluation/sha256.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "engine/evaluation/python/python_text.h"
#include "kernels/runtime/error.h"
#include "tests/data.h"

namespace memengine {
namespace {

using Texts = std::vector<std::string>;

TEST(EvalScoring, ExactMatchFollowsTheWorkedCases) {
  MEMENGINE_REQUIRE_DATA();
  std::ifstream in(test_data_folder() / "eval/lm_eval_rules/nq_exact_match_cases.jsonl");
  const Texts until = {"\n", ".", ","};
  std::string line;
  int cases = 0;
  while (std::getline(in, line)) {
    const auto c = nlohmann::json::parse(line);
    const std::string cut = cut_at_stop_strings(c.at("generation").get<std::string>(), until);
    const std::string answer(python_strip(cut));
    EXPECT_EQ(answer, c.at("after_stop_and_strip").get<std::string>());
    EXPECT_EQ(exact_match(answer, c.at("golds").get<Texts>()),
              c.at("exact_match").get<double>() == 1.0)
        << line;
    ++cases;
  }
  EXPECT_EQ(cases, 11);
}

TEST(EvalScoring, ExactMatchDropsArticlesCaseAndPunctuation) {
  const auto match = [](const char* answer, const char* gold) {
    return exact_match(answer, Texts{"no", gold});
  };
  EXPECT_TRUE(match("The \"Cat\"!", "cat"));
  EXPECT_TRUE(match("an a the cat", "cat"));
  EXPECT_FALSE(match("THE cat", "cat"));  // only "The " and "the " are articles
  EXPECT_FALSE(match("cat ", "cat"));     // spaces count
  EXPECT_FALSE(match("the", ""));         // an article has a space after it
  EXPECT_FALSE(
      match("\xC3\xA9"
            "a cat",
            "\xC3\xA9"
            "cat"));  // é is a letter: no word begins
  EXPECT_TRUE(match("-a cat", "cat"));
  EXPECT_FALSE(match("_a cat", "cat"));
  EXPECT_FALSE(match("9a cat", "9cat"));
  EXPECT_FALSE(
      match("\xC2\xBF"
            "Qu\xC3\xA9",
            "Qu\xC3\xA9"));  // only ASCII punctuation goes
  EXPECT_FALSE(exact_match("x", Texts{}));
}

TEST(EvalScoring, StopStringsCutInOrder) {
  EXPECT_EQ(cut_at_stop_strings(" a, b. c\nd", Texts{"\n", ".", ","}), " a");
  EXPECT_EQ(cut_at_stop_strings("abc", Texts{"", "x"}), "abc");
  EXPECT_EQ(cut_at_stop_strings("", Texts{"x"}), "");
  EXPECT_EQ(cut_at_stop_strings("a\xFF"
                                "b",
                                Texts{}),
            "a\xEF\xBF\xBD"
            "b");
}

TEST(EvalScoring, ChoicesAreComparedAsNumpyDoes) {
  const std::vector<double> equal = {-2.0, -1.0, -1.0};
  EXPECT_EQ(predicted_choice(equal), 1);
  // Lengths are characters: six of two bytes each, and eleven of one.
  const std::vector<double> sums = {-6.0, -10.0};
  EXPECT_EQ(predicted_choice(sums), 0);
  EXPECT_EQ(predicted_choice_normalized(
                sums, Texts{"\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9", "abcdefghijk"}),
            1);
  const std::vector<double> broken = {-1.0, std::numeric_limits<double>::quiet_NaN()};
  EXPECT_THROW(predicted_choice(broken), Error);
}

TEST(EvalScoring, MeanAndStandardError) {
  // mean_stderr of the harness on 1.0 for i % 3 == 0 and i = 0..988: values from Python 3.12 on,
  // whose sum() is compensated.
  std::vector<double> values;
  for (int i = 0; i < 989; ++i) values.push_back(i % 3 == 0 ? 1.0 : 0.0);
  EXPECT_EQ(mean(values), 0.33367037411526795);
  EXPECT_EQ(*standard_error(values), 0.015001162423010543);
  const std::vector<double> one = {1.0};
  EXPECT_EQ(mean(one), 1.0);
  EXPECT_FALSE(standard_error(one).has_value());
}

TEST(EvalScoring, PerplexityAndItsBootstrappedError) {
  // The harness's perplexity and bootstrap_stderr (Python 3.11, whose sums are not compensated).
  const std::vector<double> values = {-1.0, -2.0, -3.5, -0.25, -7.0};
  EXPECT_DOUBLE_EQ(perplexity(values), 15.642631884188171);
  EXPECT_NEAR(*perplexity_standard_error(values), 50.52608332564217, 1e-9);
  EXPECT_FALSE(perplexity_standard_error(std::vector<double>{-1.0}).has_value());
}

TEST(PythonText, StripsLowersAndCapitalizes) {
  EXPECT_EQ(python_strip("\x1c \xE2\x80\x83 a b\xC2\xA0\n"), "a b");
  EXPECT_EQ(python_strip(" \xE3\x80\x80"), "");
  EXPECT_EQ(python_rstrip(" a\t"), " a");
  EXPECT_EQ(python_length("S\xC3\xA3o \xE6\x9D\xB1"), 5U);
  EXPECT_EQ(python_lower("S\xC3\x83O PAULO"), "s\xC3\xA3o paulo");
  EXPECT_EQ(python_lower("\xCE\x9F\xCE\x94\xCE\x9F\xCE\xA3"), "\xCE\xBF\xCE\xB4\xCE\xBF\xCF\x82");
  EXPECT_EQ(python_lower("\xC4\xB0"), "i\xCC\x87");
  EXPECT_EQ(python_capitalize("hello WORLD"), "Hello world");
  EXPECT_EQ(python_capitalize("\xC3\xA9T\xC3\x89"), "\xC3\x89t\xC3\xA9");
  EXPECT_EQ(python_capitalize(""), "");
  EXPECT_EQ(python_replace("a   b", "  ", " "), "a  b");
  EXPECT_EQ(python_replace("", "x", "y"), "");
  EXPECT_EQ(python_repr("it's \"x\"\n\\"), "'it\\'s \"x\"\\n\\\\'");
  EXPECT_EQ(python_repr("it's"), "\"it's\"");
  EXPECT_EQ(python_repr("54\u00A0Mbit \u00E9\u4E2D"), "'54\\xa0Mbit \u00E9\u4E2D'");
  EXPECT_EQ(python_repr("a\u2009b\U000E0001"), "'a\\u2009b\\U000e0001'");
  EXPECT_EQ(python_repr(-12.0), "-12.0");
  EXPECT_EQ(python_repr(0.1), "0.1");
}

// FIPS 180-4's examples, and lengths around the end of a block.
TEST(EvalScoring, Sha256) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(sha256(std::string(63, 'a')),
            "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34");
  EXPECT_EQ(sha256(std::string(64, 'a')),
            "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
}

}  // namespace
}  // namespace memengine
