// The map of characters in a SentencePiece model, which the library follows without a look at where
// it ends: what is sound is read as the library reads it, all else is refused before.
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include "io/tokenizers/sentencepiece/sentencepiece.h"
#include "tests/expect_input_error.h"
#include "tests/io/tokenizers/sentencepiece_testing.h"

namespace memengine {
namespace {

using testing_io::CharacterMap;
using testing_io::sentencepiece_model;
using testing_io::small_map;

void expect_refused(const std::string& map) {
  for (const unsigned kind : {1u, 2u}) {
    expect_input_error("m.model: the SentencePiece model's map of characters is damaged",
                       [&] { parse_sentencepiece("m.model", sentencepiece_model(kind, map)); });
  }
  expect_input_error("map of characters is damaged", [&] {
    parse_sentencepiece("m.model", sentencepiece_model(1, small_map().bytes(), map));
  });
}

TEST(SentencePieceMap, ASoundOneReplacesCharacters) {
  for (const unsigned kind : {1u, 2u}) {
    const std::string model = sentencepiece_model(kind, small_map().bytes());
    const auto tokenizer = parse_sentencepiece("m.model", model);
    sentencepiece::SentencePieceProcessor library;
    ASSERT_TRUE(library.LoadFromSerializedProto(model).ok());
    for (const std::string text : {"A", "cAc", "aA b", "\xc3\xa9"}) {
      std::vector<int> expected;
      ASSERT_TRUE(library.Encode(text, &expected).ok());
      EXPECT_EQ(tokenizer->encode(text, false, false), expected) << kind << " " << text;
    }
    EXPECT_EQ(tokenizer->encode("A", false, false), tokenizer->encode("ab", false, false));
  }
}

TEST(SentencePieceMap, OneThatLeadsOutOfItselfIsRefused) {
  using namespace std::string_literals;
  expect_refused("\x04\0\0\0\xff\xff\xff\xff"s);    // a trie of one unit, and nothing after it
  expect_refused("\x04\0\0\0\xff\xff\xff\xff\0"s);  // one unit that leads anywhere
  expect_refused("\x04\0\0"s);                      // no size
  expect_refused("\0\0\0\0\0"s);                    // an empty trie
  expect_refused("\xff\xff\xff\x7f\0\0\0\0\0"s);    // larger than the map
  CharacterMap map = small_map();
  map.units[256 ^ 'A'] = CharacterMap::node(0x1fffff, 'A', true);
  expect_refused(map.bytes());
  map = small_map();
  map.units[0] = CharacterMap::node(512, 0, false);
  expect_refused(map.bytes());
}

TEST(SentencePieceMap, OneWhoseReplacementsAreNoTextsIsRefused) {
  CharacterMap map = small_map();
  map.units[1] = 1u << 31 | 3;  // after the last
  expect_refused(map.bytes());
  map = small_map();
  map.replacements = "ab";  // does not end
  expect_refused(map.bytes());
  map = small_map();
  map.replacements = std::string("\xff\0", 2);
  expect_refused(map.bytes());
}

// The library has room for 32 sequences that one text begins with; these never end.
TEST(SentencePieceMap, OneThatGoesInACircleIsRefused) {
  CharacterMap map = small_map();
  const std::uint32_t child = 256 ^ 'A';
  map.units[child] = CharacterMap::node(child ^ 256, 'A', true);  // back to its own siblings
  map.units[256] = 1u << 31 | 0;
  expect_refused(map.bytes());
}

}  // namespace
}  // namespace memengine
