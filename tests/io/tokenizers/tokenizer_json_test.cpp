// tokenizer.json: ids as huggingface/tokenizers 0.23.3 gives them, on tokenizers small enough to
// read; what is not supported and what is hostile is one line.
#include "io/tokenizers/hugging_face/tokenizer_json.h"

#include <gtest/gtest.h>

#include "io/tokenizers/special_tokens.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

using Ids = std::vector<std::int32_t>;

// Byte-level: the letters a, b, c, space (Ġ) and newline (Ċ), "ab", "Ġab", "abc".
std::string byte_level(const std::string& parts = "", const std::string& model = "") {
  return R"({"added_tokens": [
    {"id": 8, "content": "<e>", "special": true, "normalized": false},
    {"id": 9, "content": "bc", "special": false, "normalized": false},
    {"id": 10, "content": "<r>", "special": true, "normalized": false, "lstrip": true, "rstrip": true}],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    )" + parts +
         R"("decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", )" +
         model + R"("vocab": {"a": 0, "b": 1, "c": 2, "Ġ": 3, "Ċ": 4, "ab": 5, "Ġab": 6, "abc": 7},
    "merges": ["a b", ["Ġ", "ab"]]}})";
}

// SentencePiece-style: marks, two characters, bytes of "é" but not of others.
std::string metaspace(const std::string& before) {
  return R"({"added_tokens": [{"id": 0, "content": "<unk>", "special": true},
    {"id": 1, "content": "<s>", "special": true, "normalized": false}],
    )" + before +
         R"("decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
      {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "post_processor": {"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
      "vocab": {"<unk>": 0, "<s>": 1, "▁": 2, "x": 3, "y": 4, "▁x": 5, "xy": 6, "▁xy": 7,
        "<0xC3>": 8, "<0xA9>": 9, "▁▁": 10},
      "merges": ["▁ x", "x y", "▁x y", "▁ ▁"]}})";
}

Ids plain(const Tokenizer& tokenizer, std::string_view text) {
  return tokenizer.encode(text, false, false);
}
Ids special(const Tokenizer& tokenizer, std::string_view text) {
  Ids ids;
  tokenizer.encode_with_special(text, ids);
  return ids;
}

TEST(TokenizerJson, ByteLevelMergesByTheListOfPairs) {
  const auto tokenizer = parse_tokenizer_json("t", byte_level(), "");
  EXPECT_EQ(tokenizer->name(), "hf");
  EXPECT_EQ(tokenizer->vocab_size(), 11);
  EXPECT_EQ(plain(*tokenizer, "ab ab\nac"), (Ids{5, 6, 4, 0, 2}));
  EXPECT_EQ(plain(*tokenizer, "aabb"), (Ids{0, 5, 1}));
  EXPECT_EQ(plain(*tokenizer, "aab?"), (Ids{0, 5}));  // no token, no unknown token: nothing
  EXPECT_EQ(plain(*tokenizer, ""), Ids{});
  EXPECT_EQ(tokenizer->decode(Ids{5, 6, 8, 4, 0}), "ab ab\na");
  EXPECT_EQ(tokenizer->token_bytes(6), " ab");
}

TEST(TokenizerJson, AWholePieceIsItsTokenOnlyWhereMergesAreIgnored) {
  // "abc" is in the vocabulary, but no merge makes it; the added token bc would cut it.
  std::string file = byte_level();
  file.replace(file.find(R"({"id": 9, "content": "bc", "special": false, "normalized": false},)"),
               66, "");
  EXPECT_EQ(plain(*parse_tokenizer_json("t", file, ""), "abc"), (Ids{5, 2}));
  file.insert(file.find("\"vocab\""), "\"ignore_merges\": true, ");
  EXPECT_EQ(plain(*parse_tokenizer_json("t", file, ""), "abc ab"), (Ids{7, 6}));
}

TEST(TokenizerJson, AddedTokensAreFoundAndSpecialOnesOnlyWhereAsked) {
  const auto tokenizer = parse_tokenizer_json("t", byte_level(), "");
  EXPECT_EQ(plain(*tokenizer, "abca"), (Ids{0, 9, 0}));
  EXPECT_EQ(special(*tokenizer, "a<e>b"), (Ids{0, 8, 1}));
  EXPECT_EQ(plain(*tokenizer, "a<e>b"), (Ids{0, 1}));
  EXPECT_EQ(special(*tokenizer, "a \n<r>  b"), (Ids{0, 10, 1}));
  EXPECT_EQ(tokenizer->decode(Ids{9}), "bc");
  EXPECT_EQ(SpecialTokenEncoder(*tokenizer, SpaceInFront::every_part, false).encode("<e>"), Ids{8});
}

TEST(TokenizerJson, MetaspaceUnknownAndByteFallback) {
  const auto split = parse_tokenizer_json(
      "t", metaspace(R"("pre_tokenizer": {"type": "Metaspace", "replacement": "▁",
                        "prepend_scheme": "first", "split": false},)"),
      "");
  EXPECT_EQ(split->bos_id(), 1);
  EXPECT_EQ(plain(*split, "xy x"), (Ids{7, 5}));
  EXPECT_EQ(plain(*split, "  xy"), (Ids{2, 7}));
  EXPECT_EQ(plain(*split, "\xC3\xA9qqx"), (Ids{2, 8, 9, 0, 3}));
  EXPECT_EQ(special(*split, "x<s>xy"), (Ids{5, 1, 6}));  // only the first part has the mark
  EXPECT_EQ(split->decode(Ids{1, 5, 8, 9}), "x\xC3\xA9");
  EXPECT_EQ(split->decode(Ids{5, 8, 3, 9}), "x\xEF\xBF\xBDx\xEF\xBF\xBD");
  const auto prepends =
      parse_tokenizer_json("t", metaspace(R"("normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},)"),
                           "");
  EXPECT_EQ(special(*prepends, "x<s>xy"), (Ids{5, 1, 7}));  // every part has it
  EXPECT_EQ(plain(*prepends, " x"), (Ids{2, 5}));
}

TEST(TokenizerJson, NormalFormCAndPatternsOfOtherTokenizers) {
  const std::string parts = R"("normalizer": {"type": "NFC"}, )";
  const auto tokenizer = parse_tokenizer_json("t", byte_level(parts), "");
  EXPECT_EQ(plain(*tokenizer,
                  "a\xCC\x81"
                  "b"),
            (Ids{1}));  // á is not the letter a
  std::string file = byte_level();
  const std::string level =
      R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})";
  file.replace(file.find(level), level.size(),
               R"({"type": "Sequence", "pretokenizers": [{"type": "Split", "behavior":
                  "MergedWithPrevious", "pattern": {"Regex": "a(?!b)|\\s"}, "invert": false},
                  {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
  EXPECT_EQ(plain(*parse_tokenizer_json("t", file, ""), "ab abaab"), (Ids{5, 3, 5, 0, 5}));
}

TEST(TokenizerJson, TheConfigBesideItNamesBosAndEos) {
  const auto parse = [](const char* config) {
    return parse_tokenizer_json("t", byte_level(), config);
  };
  EXPECT_EQ(parse("")->bos_id(), -1);
  const auto both = parse(R"({"bos_token": "<e>", "eos_token": {"content": "<r>"}})");
  EXPECT_EQ(both->bos_id(), 8);
  EXPECT_EQ(both->eos_id(), 10);
  expect_input_error("'<none>' is no token", [&] { parse(R"({"bos_token": "<none>"})"); });
  expect_input_error("is not a text", [&] { parse(R"({"eos_token": {"content": 3}})"); });
}

TEST(TokenizerJson, WhatIsNotSupportedIsNamed) {
  const auto refuse = [](const std::string& words, const std::string& file) {
    expect_input_error(words, [&] { parse_tokenizer_json("t.json", file, ""); });
  };
  const auto with = [](const std::string& part) { return byte_level(part + ", "); };
  refuse("normalizer: normalizer 'Lowercase' is not supported",
         with(R"("normalizer": {"type": "Lowercase"})"));
  refuse("post-processor 'BertProcessing'",
         with(R"("post_processor": {"type": "BertProcessing"})"));
  refuse("dropout", byte_level("", R"("dropout": 0.5, )"));
  refuse("end_of_word_suffix is not supported",
         byte_level("", R"("end_of_word_suffix": "</w>", )"));
  refuse("the model 'Unigram' is not supported",
         R"({"model": {"type": "Unigram", "vocab": [["a", 0]]}})");
  refuse("pre-tokenizer 'Whitespace' is not supported",
         R"({"pre_tokenizer": {"type": "Whitespace"}, "model": {}})");
  refuse("single_word is not supported",
         R"({"added_tokens": [{"id": 0, "content": "a", "single_word": true}],
             "model": {"vocab": {"a": 0}, "merges": []}})");
}

TEST(TokenizerJson, HostileFilesAreOneLine) {
  const auto refuse = [](const std::string& words, const std::string& file) {
    expect_input_error(words, [&] { parse_tokenizer_json("t.json", file, ""); });
  };
  const auto model = [](const std::string& members) { return R"({"model": {)" + members + "}}"; };
  refuse("is not JSON", "{");
  refuse("is not JSON", std::string(100000, '['));
  refuse("t.json: has no 'model'", "{}");
  refuse("is not an object", "[]");
  refuse("has no 'vocab'", model(R"("merges": [])"));
  refuse("is not the number of a token", model(R"("vocab": {"a": "b"}, "merges": [])"));
  refuse("a token's number is 0 to", model(R"("vocab": {"a": -1}, "merges": [])"));
  refuse("a token's number is 0 to", model(R"("vocab": {"a": 99999999999}, "merges": [])"));
  refuse("token 9000000 among 1 tokens", model(R"("vocab": {"a": 9000000}, "merges": [])"));
  refuse("two tokens have the number 0", model(R"("vocab": {"a": 0, "b": 0}, "merges": [])"));
  refuse("'a' is there twice", model(R"("vocab": {"a": 0, "a": 1}, "merges": [])"));
  refuse("merge 0 needs 'b'", model(R"("vocab": {"a": 0}, "merges": ["a b"])"));
  refuse("merge 0 is not of two tokens", model(R"("vocab": {"a": 0}, "merges": ["a"])"));
  refuse("is not a text", model(R"("vocab": {"a": 0}, "merges": [1])"));
  refuse("unk_token '?' is no token",
         model(R"("vocab": {"a": 0}, "merges": [], "unk_token": "?")"));
  refuse("without a token", model(R"("vocab": {}, "merges": [])"));
  refuse(
      "is not understood",
      R"({"pre_tokenizer": {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": "("}}})");
  refuse("token 16000000 after 1 tokens",
         R"({"added_tokens": [{"id": 16000000, "content": "x"}],
             "model": {"vocab": {"a": 0}, "merges": []}})");
  refuse("is number 5 here and 0", R"({"added_tokens": [{"id": 5, "content": "a"}],
             "model": {"vocab": {"a": 0}, "merges": []}})");
  // A pattern that would look for ever gives up.
  const auto slow = parse_tokenizer_json(
      "t.json",
      R"({"pre_tokenizer": {"type": "Split", "behavior": "Isolated", "invert": false,
          "pattern": {"Regex": "(a+)+(a+)+(a+)+[xy]"}}, "model": {"vocab": {"a": 0}, "merges": []}})",
      "");
  expect_input_error("costs too much",
                     [&] { slow->encode(std::string(5000, 'a') + "b", false, false); });
}

TEST(TokenizerJson, LongPiecesMergeAsShortOnes) {
  const auto tokenizer = parse_tokenizer_json("t", byte_level(), "");
  std::string text;
  Ids expected;
  for (int i = 0; i < 5000; ++i) {
    text += "ab";
    expected.push_back(5);
  }
  EXPECT_EQ(plain(*tokenizer, text), expected);
  EXPECT_EQ(plain(*tokenizer, std::string(100000, 'a')).size(), 100000U);
}

}  // namespace
}  // namespace memengine
