// memengine tokenize: pieces, ids, and lines of standard input.
#include "tests/cli/program.h"

namespace memengine {
namespace {

class Tokenize : public testing::Test {
 protected:
  Tokenize() {
    folder_.write("tokenizer.json", R"({"added_tokens": [{"id": 5, "content": "<end>",
      "special": true, "normalized": false, "single_word": false, "lstrip": false,
      "rstrip": false}], "normalizer": null, "pre_tokenizer": {"type": "ByteLevel",
      "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
      "post_processor": null, "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE",
      "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u00c3": 4}, "merges": ["a b"]}})");
  }

  TemporaryFolder folder_;
};

TEST_F(Tokenize, ShowsPiecesAndIds) {
  EXPECT_EQ(run_well(folder_, {"tokenize", "tokenizer.json", "--text", "ab ba<end>"}),
            "       2  'ab'\n"
            "       3  ' '\n"
            "       1  'b'\n"
            "       0  'a'\n"
            "       5  <end>\n"
            "5 tokens, 10 bytes\n");
  // A byte that is no letter on its own; a name that is plain letters.
  EXPECT_EQ(run_well(folder_, {"tokenize", "tokenizer.json", "--text", "\xc3\xa9"}),
            "       4  '\\xc3'\n1 token, 2 bytes\n");
  EXPECT_EQ(
      run_well(folder_, {"tokenize", "tokenizer.json", "--ids", "--plain", "--text", "b<end>"}),
      "1\n");
}

TEST_F(Tokenize, TakesEachLineOfStandardInput) {
  folder_.write("stdin", "ab\n\nba ab");
  EXPECT_EQ(run_well(folder_, {"tokenize", "tokenizer.json", "--ids"}), "2\n\n1 0 3 2\n");
  EXPECT_EQ(run_well(folder_, {"tokenize", "bytes", "--ids", "--bos", "--eos"}),
            "256 97 98 257\n256 257\n256 98 97 32 97 98 257\n");
}

TEST_F(Tokenize, RefusesWhatIsNotThere) {
  expect_refusal(folder_, {"tokenize", "tokenizer.json", "--bos", "--text", "a"},
                 {"--bos: the tokenizer has no BOS"});
  expect_refusal(folder_, {"tokenize", "nothing", "--text", "a"}, {"nothing: cannot open"});
}

}  // namespace
}  // namespace memengine
