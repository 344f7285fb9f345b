// The ids of published vectors, the byte tokenizer, and what a bad model file or id gives.
#include "io/tokenizers/tokenizer.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>
#include <sentencepiece_trainer.h>

#include <numeric>
#include <random>
#include <sstream>

#include "io/text/utf8.h"
#include "tests/data.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

struct Vector {
  std::string text;
  std::vector<std::int32_t> ids;
};

// Texts are separated by a line of their own; ids stand one text a line.
std::vector<Vector> read_vectors(const std::string& model) {
  const auto folder = test_data_folder() / "tokenizers/vectors";
  std::string texts = file_bytes(folder / ("ggml-vocab-" + model + ".gguf.inp"));
  std::istringstream ids(file_bytes(folder / ("ggml-vocab-" + model + ".gguf.out")));
  const std::string separator = "\n__ggml_vocab_test__\n";
  std::vector<Vector> vectors;
  for (std::string line; std::getline(ids, line);) {
    const std::size_t end = texts.find(separator);
    Vector vector;
    vector.text = texts.substr(0, end);
    texts.erase(0, end == std::string::npos ? end : end + separator.size());
    std::istringstream numbers(line);
    for (std::int32_t id; numbers >> id;) vector.ids.push_back(id);
    vectors.push_back(vector);
  }
  EXPECT_TRUE(texts.empty());
  return vectors;
}

struct Model {
  const char *vectors, *name, *file;
  std::int32_t vocab_size, bos, eos;
};

class PublishedVectors : public testing::TestWithParam<Model> {};

TEST_P(PublishedVectors, GiveTheseIdsAndTheTextAgain) {
  MEMENGINE_REQUIRE_DATA();
  const Model model = GetParam();
  const auto tokenizer = load_tokenizer(model.name, test_data_folder() / "tokenizers" / model.file);
  EXPECT_EQ(tokenizer->vocab_size(), model.vocab_size);
  EXPECT_EQ(tokenizer->bos_id(), model.bos);
  EXPECT_EQ(tokenizer->eos_id(), model.eos);
  EXPECT_EQ(tokenizer->name(), model.name);
  const auto vectors = read_vectors(model.vectors);
  EXPECT_GT(vectors.size(), 40u);
  for (const Vector& vector : vectors) {
    EXPECT_EQ(tokenizer->encode(vector.text, false, false), vector.ids) << vector.text;
    EXPECT_EQ(tokenizer->decode(vector.ids), vector.text);
    auto framed = tokenizer->encode(vector.text, true, true);
    ASSERT_EQ(framed.size(), vector.ids.size() + 2);
    EXPECT_EQ(framed.front(), model.bos);
    EXPECT_EQ(framed.back(), model.eos);
    EXPECT_EQ(tokenizer->decode(framed), vector.text);
    std::string pieces;
    for (const std::int32_t id : framed) pieces += tokenizer->token_bytes(id);
    const bool space_in_front = std::string(model.name) == "sp" && !vector.text.empty();
    EXPECT_EQ(pieces, (space_in_front ? " " : "") + vector.text);
  }
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, PublishedVectors,
                         testing::Values(Model{"llama-spm", "sp", "llama2.model", 32000, 1, 2},
                                         Model{"llama-bpe", "tiktoken", "llama3.tiktoken", 128256,
                                               128000, 128001}),
                         [](const auto& info) { return std::string(info.param.name); });

// Words, runs of spaces and of one character, any scalar value, the space mark itself.
std::string random_text(std::mt19937& random) {
  static const char* const parts[] = {
      " ",       "  ",   "    ",         "\n",       "\t",
      "the",     " and", "ing",          "Pre",      "'s",
      "1",       "==",   "\xE2\x96\x81", "\xE2\x96", "\xF0\x9F\xA6\x99",
      "\xCC\x81"};
  std::string text;
  for (std::size_t left = random() % 40; left > 0; --left) {
    const auto kind = random() % 8;
    if (kind < 4) text += parts[random() % std::size(parts)];
    if (kind == 4) append_utf8(text, random() % 0x110000);
    if (kind == 5) append_utf8(text, 0x4E00 + random() % 0x5200);
    if (kind == 6) text += static_cast<char>('a' + random() % 26);
    if (kind == 7) text += std::string(random() % 90, static_cast<char>(33 + random() % 90));
  }
  return text;
}

TEST(Tokenizer, SentencePieceGivesTheLibrarysIds) {
  MEMENGINE_REQUIRE_DATA();
  std::mt19937 random(10);
  for (const char* model : {"llama2.model", "sentencepiece_1k.model"}) {
    const auto path = test_data_folder() / "tokenizers" / model;
    const auto tokenizer = load_tokenizer("sp", path);
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.Load(path.string()).ok());
    // Releases of the library choose differently among ways to cut that are equally good.
    const auto sum = [&](const std::vector<int>& ids) {
      double total = 0;
      for (const int id : ids) total += library.GetScore(id);
      return total;
    };
    const bool ties = std::string(model) == "sentencepiece_1k.model";
    int different = 0;
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(replace_invalid_utf8(text), &expected).ok());
      const std::vector<int> ids = tokenizer->encode(text, false, false);
      if (ids == expected) continue;
      ++different;
      ASSERT_TRUE(ties) << model << ": " << text;
      ASSERT_EQ(ids.size(), expected.size()) << text;
      ASSERT_NEAR(sum(ids), sum(expected), 1e-3) << text;
    }
    EXPECT_LT(different, 100);
  }
}

// Where ways to cut are equally good, the ids are those of release 0.2.3 whatever is installed.
TEST(Tokenizer, SentencePieceChoosesAmongEqualsAsItsLatestRelease) {
  MEMENGINE_REQUIRE_DATA();
  const auto tokenizer =
      load_tokenizer("sp", test_data_folder() / "tokenizers/sentencepiece_1k.model");
  const auto ids = [&](const std::string& text) { return tokenizer->encode(text, false, false); };
  using Ids = std::vector<std::int32_t>;
  EXPECT_EQ(ids("wolllg"), (Ids{102, 21, 31, 88, 37}));
  EXPECT_EQ(ids("gwlllg xlllo"), (Ids{4, 37, 63, 31, 88, 37, 4, 297, 31, 88, 21}));
  EXPECT_EQ(ids("0lllllllll"), (Ids{4, 351, 31, 88, 88, 88, 88}));
  EXPECT_EQ(ids("a ................."), (Ids{11, 4, 6, 269, 6, 6, 6, 269, 6}));
  EXPECT_EQ(ids("---------"), (Ids{4, 35, 415, 415, 415, 415}));
  EXPECT_EQ(ids(" \t "), (Ids{4, 0}));
}

// Models that replace characters, trained here; the library normalizes them too.
TEST(Tokenizer, SentencePieceNormalizesAsTheLibraryDoes) {
  const TemporaryFolder folder;
  std::mt19937 random(11);
  const std::vector<std::string> words = {"the",   "quick", "brown", "fox",
                                          "jumps", "over",  "a",     "dog"};
  // Wide letters, ligatures, fractions, composed and decomposed marks, several kinds of spaces.
  const std::u32string odd = U"\uFF21\uFB01\u00BD\u1E69\u0323\u3000\u00A0\u200B\u3300\u4E00\t\n\1";
  const auto text_of = [&](bool with_odd) {
    std::string text;
    for (std::size_t left = 1 + random() % 12; left > 0; --left) {
      text += words[random() % words.size()] + std::string(random() % 3, ' ');
      if (with_odd && random() % 2 == 0) append_utf8(text, odd[random() % odd.size()]);
    }
    return text;
  };
  std::string lines;
  for (int i = 0; i < 300; ++i) lines += text_of(false) + "\n";
  const auto input = folder.write("texts.txt", lines);
  for (const std::string options :
       {"--normalization_rule_name=nmt_nfkc",
        "--normalization_rule_name=nmt_nfkc_cf --byte_fallback=true",
        "--normalization_rule_name=nfkc --remove_extra_whitespaces=false "
        "--add_dummy_prefix=false"}) {
    const auto status = sentencepiece::SentencePieceTrainer::Train(
        "--input=" + input.string() + " --model_prefix=" + (folder / "m").string() +
        " --vocab_size=320 --hard_vocab_limit=false --minloglevel=2 --num_threads=1 " + options);
    ASSERT_TRUE(status.ok()) << status.ToString();
    const auto tokenizer = load_tokenizer("sp", folder / "m.model");
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.Load((folder / "m.model").string()).ok());
    int different = 0;
    for (int i = 0; i < 1000; ++i) {
      const std::string text = text_of(true);
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(text, &expected).ok());
      const std::vector<int> ids = tokenizer->encode(text, false, false);
      different += ids != expected;
      EXPECT_EQ(tokenizer->decode(ids), tokenizer->decode(expected)) << options << ": " << text;
    }
    EXPECT_LT(different, 50) << options;  // ways that are equally good
  }
}

TEST(Tokenizer, BytesAreTheirOwnIds) {
  const auto tokenizer = load_tokenizer("bytes", "");
  EXPECT_EQ(tokenizer->vocab_size(), 258);
  EXPECT_EQ(tokenizer->encode("a\xFF", true, true), (std::vector<std::int32_t>{256, 97, 255, 257}));
  EXPECT_EQ(tokenizer->decode(std::vector<std::int32_t>{256, 97, 255, 257}), "a\xEF\xBF\xBD");
  EXPECT_EQ(tokenizer->hash().size(), 16u);
  std::string every(256, '\0');
  std::iota(every.begin(), every.end(), 0);
  std::string again;
  for (const std::int32_t id : tokenizer->encode(every, false, false)) {
    again += tokenizer->token_bytes(id);
  }
  EXPECT_EQ(again, every);
}

TEST(Tokenizer, SayWhatIsWrong) {
  const TemporaryFolder folder;
  expect_input_error("unknown tokenizer 'gpt9'", [] { load_tokenizer("gpt9", ""); });
  expect_input_error("data.tokenizer.path", [] { load_tokenizer("sp", ""); });
  expect_input_error("cannot open", [&] { load_tokenizer("sp", folder / "none"); });
  expect_input_error("is a folder", [&] { load_tokenizer("sp", folder.path()); });
  expect_input_error("is empty", [&] { load_tokenizer("sp", folder.write("empty", "")); });
  expect_input_error("not a SentencePiece model",
                     [&] { load_tokenizer("sp", folder.write("x.model", "no model at all")); });
  const auto bytes = load_tokenizer("bytes", "");
  expect_input_error("outside", [&] { bytes->token_bytes(258); });
  expect_input_error("outside", [&] { bytes->decode(std::vector<std::int32_t>{-1}); });
}

TEST(Utf8, ReplacesAsPythonDoes) {
  // bytes.decode("utf-8", "replace") of the same bytes, by hand from the maximal-subpart rule.
  const std::string r = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> cases[] = {
      {"plain", "plain"},
      {"\x80", r},
      {"a\xE2\x82", "a" + r},
      {"\xE2\x82z", r + "z"},
      {"\xED\xA0\x80", r + r + r},
      {"\xF0\x9F\x98", r},
      {"\xF0\x80\x80\x80", r + r + r + r},
      {"\xC0\xAF", r + r},
      {"\xF4\x90\x80\x80", r + r + r + r},
      {"\xE2\x82\xAC\xFF\xE2\x82\xAC", "\xE2\x82\xAC" + r + "\xE2\x82\xAC"}};
  for (const auto& [bytes, text] : cases) {
    EXPECT_EQ(replace_invalid_utf8(bytes), text);
    EXPECT_EQ(find_invalid_utf8(bytes) == std::string::npos, bytes == text);
  }
}

TEST(Utf8, EveryCharacterGoesThereAndBack) {
  for (char32_t code = 0; code <= 0x110000; ++code) {
    std::string text;
    append_utf8(text, code);
    const auto character = decode_utf8(text);
    const bool scalar = code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
    ASSERT_EQ(character.code, scalar ? code : replacement_character);
    ASSERT_TRUE(character.valid && character.length == text.size());
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      ASSERT_EQ(complete_utf8_prefix("x" + text.substr(0, cut)), 1u);
    }
    ASSERT_EQ(complete_utf8_prefix(text), text.size());
  }
}

}  // namespace
}  // namespace memengine
