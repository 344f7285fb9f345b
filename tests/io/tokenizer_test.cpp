// The ids of published vectors, the byte tokenizer, and what a bad model file or id gives.
#include "io/tokenizer.h"

#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <numeric>
#include <random>
#include <sstream>

#include "io/utf8.h"
#include "tests/data.h"
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
    for (int i = 0; i < 3000; ++i) {
      const std::string text = random_text(random);
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(replace_invalid_utf8(text), &expected).ok());
      ASSERT_EQ(tokenizer->encode(text, false, false), expected) << model << ": " << text;
    }
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
