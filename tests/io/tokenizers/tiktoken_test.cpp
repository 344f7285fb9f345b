// The merge loop against its definition, the split pattern's corner cases, malformed rank files.
#include "io/tokenizers/tiktoken/tiktoken.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <random>
#include <regex>

#include "io/text/unicode_classes.h"
#include "io/tokenizers/tiktoken/tiktoken_bpe.h"
#include "io/tokenizers/tiktoken/tiktoken_split.h"
#include "tests/data.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

std::string base64(const std::string& bytes) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += k > bytes.size() - i ? '=' : alphabet[bits >> (18 - 6 * k) & 63];
    }
  }
  return text;
}

std::string rank_file(const std::vector<std::string>& tokens) {
  std::string file;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    file += base64(tokens[i]) + " " + std::to_string(i) + "\n";
  }
  return file;
}

// The 256 bytes in a shuffled order, then random joins of earlier tokens over a small alphabet.
std::vector<std::string> random_vocabulary(std::mt19937& random, std::size_t merges) {
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(std::string(1, static_cast<char>(byte)));
  std::shuffle(tokens.begin(), tokens.end(), random);
  std::vector<std::string> letters = {"a", "b", "c"};
  while (letters.size() < merges) {
    const auto joined = letters[random() % letters.size()] + letters[random() % letters.size()];
    if (joined.size() > 12 || std::find(letters.begin(), letters.end(), joined) != letters.end()) {
      continue;
    }
    letters.push_back(joined);
    tokens.push_back(joined);
  }
  return tokens;
}

// The definition: join the leftmost pair of lowest rank until none is a token.
std::vector<std::int32_t> merge_by_definition(const BpeVocabulary& vocabulary,
                                              const std::string& piece) {
  std::vector<std::string> parts;
  for (const char c : piece) parts.push_back(std::string(1, c));
  for (;;) {
    std::int32_t best = -1;
    std::size_t where = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::int32_t rank = vocabulary.find(parts[i] + parts[i + 1]);
      if (rank >= 0 && (best < 0 || rank < best)) best = rank, where = i;
    }
    if (best < 0) break;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  std::vector<std::int32_t> ids;
  for (const auto& part : parts) ids.push_back(vocabulary.find(part));
  return ids;
}

TEST(Bpe, MergesAsDefined) {
  std::mt19937 random(20);
  for (int round = 0; round < 20; ++round) {
    BpeVocabulary vocabulary;
    for (const auto& token : random_vocabulary(random, 3 + random() % 120)) vocabulary.add(token);
    for (const std::size_t length : {1u, 2u, 3u, 19u, 63u, 64u, 65u, 66u, 99u, 989u}) {
      std::string piece;
      const std::size_t alphabet = 1 + random() % 4;
      while (piece.size() < length) piece += static_cast<char>('a' + random() % alphabet);
      std::vector<std::int32_t> ids;
      vocabulary.encode_piece(piece, ids);
      if (vocabulary.find(piece) >= 0) {
        EXPECT_EQ(ids, std::vector<std::int32_t>{vocabulary.find(piece)});
      } else {
        EXPECT_EQ(ids, merge_by_definition(vocabulary, piece)) << piece;
      }
    }
  }
}

TEST(Bpe, ALongPieceTakesNearLinearTime) {
  std::mt19937 random(21);
  BpeVocabulary vocabulary;
  for (const auto& token : random_vocabulary(random, 100)) vocabulary.add(token);
  std::string piece;
  while (piece.size() < (1u << 20)) piece += static_cast<char>('a' + random() % 3);
  std::vector<std::int32_t> ids;
  const auto start = std::chrono::steady_clock::now();
  vocabulary.encode_piece(piece, ids);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 20);
  std::string again;
  for (const std::int32_t id : ids) again += vocabulary.bytes(id);
  EXPECT_EQ(again, piece);
}

std::vector<std::string> split(const std::string& text) {
  TiktokenPieces walk(text);
  std::vector<std::string> pieces;
  for (std::string_view piece; !(piece = walk.next()).empty();) pieces.emplace_back(piece);
  return pieces;
}

TEST(TiktokenSplit, CutsAsThePatternSays) {
  using Pieces = std::vector<std::string>;
  EXPECT_EQ(split(""), Pieces{});
  EXPECT_EQ(split("I'LL we'Ve it's"), (Pieces{"I", "'LL", " we", "'Ve", " it", "'s"}));
  EXPECT_EQ(split("1234567 12"), (Pieces{"123", "456", "7", " ", "12"}));
  EXPECT_EQ(split("a  b"), (Pieces{"a", " ", " b"}));
  EXPECT_EQ(split("a   "), (Pieces{"a", "   "}));
  EXPECT_EQ(split("a \n\n b"), (Pieces{"a", " \n\n", " b"}));
  EXPECT_EQ(split("x!!\n\ny"), (Pieces{"x", "!!\n\n", "y"}));
  EXPECT_EQ(split("\tword"), (Pieces{"\tword"}));
  EXPECT_EQ(split("'\xC5\xBF"), (Pieces{"'\xC5\xBF"}));  // long s folds to s
  // U+180E is not white space, U+2003 and U+0085 are.
  EXPECT_EQ(split("\xE1\xA0\x8E!"), (Pieces{"\xE1\xA0\x8E!"}));
  EXPECT_EQ(split("\xE2\x80\x83\xE2\x80\x83!"), (Pieces{"\xE2\x80\x83", "\xE2\x80\x83", "!"}));
  EXPECT_EQ(split("\xC2\x85\xC2\x85"), (Pieces{"\xC2\x85\xC2\x85"}));
  EXPECT_EQ(split(std::string("\0a", 2)), (Pieces{std::string("\0a", 2)}));
}

// The pattern on texts of ASCII stand-ins, by a regular expression engine.
std::vector<std::string> split_by_regex(const std::string& text) {
  static const std::regex pattern(
      "'[sStTmMdD]|'[rR][eE]|'[vV][eE]|'[lL][lL]|[^\\r\\na-zA-Z0-9]?[a-zA-Z]+|[0-9]{1,3}"
      "| ?[^ \\t\\r\\na-zA-Z0-9]+[\\r\\n]*|[ \\t\\r\\n]*[\\r\\n]+"
      "|[ \\t\\r\\n]+(?![^ \\t\\r\\n])|[ \\t\\r\\n]+");
  std::vector<std::string> pieces;
  const std::sregex_iterator end;
  for (std::sregex_iterator i(text.begin(), text.end(), pattern); i != end; ++i) {
    pieces.push_back(i->str());
  }
  return pieces;
}

TEST(TiktokenSplit, AgreesWithARegularExpression) {
  // Each stand-in and what it stands for: a letter, a number, white space, punctuation.
  const std::vector<std::pair<char, std::string>> stand_ins = {
      {'a', "\xC3\xA9"}, {'1', "\xD9\xA3"}, {'\t', "\xE2\x80\x83"}, {'!', "\xE3\x80\x82"}};
  const auto in_unicode = [&](const std::string& ascii) {
    std::string text;
    for (const char c : ascii) {
      const auto found = std::find_if(stand_ins.begin(), stand_ins.end(),
                                      [&](const auto& pair) { return pair.first == c; });
      text += found == stand_ins.end() ? std::string(1, c) : found->second;
    }
    return text;
  };
  std::mt19937 random(23);
  const std::string alphabet = "aaSlLrRveETmd''!!11 \t \n\r";
  for (int round = 0; round < 3000; ++round) {
    std::string text;
    for (std::size_t left = random() % 24; left > 0; --left) {
      const std::size_t count = random() % 8 > 0 ? 1 : 1 + random() % 5;
      text.append(count, alphabet[random() % alphabet.size()]);
    }
    const auto expected = split_by_regex(text);
    EXPECT_EQ(split(text), expected) << text;
    std::vector<std::string> unicode;
    for (const std::string& piece : expected) unicode.push_back(in_unicode(piece));
    EXPECT_EQ(split(in_unicode(text)), unicode) << text;
  }
}

TEST(UnicodeClasses, AreThoseOfUnicode16) {
  using Class = CharacterClass;
  std::map<Class, int> count;
  std::uint64_t places = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    const Class kind = character_class(c);
    ++count[kind];
    if (kind != Class::other) places = places * 31 + c * 4 + static_cast<unsigned>(kind);
  }
  EXPECT_EQ(count[Class::letter], 141028);
  EXPECT_EQ(count[Class::number], 1911);
  EXPECT_EQ(count[Class::white_space], 25);
  EXPECT_EQ(places, 4776975438156679649u);
  EXPECT_EQ(character_class(0x31350), Class::letter);  // an ideograph of Unicode 15
  EXPECT_EQ(character_class(0x10D40), Class::number);  // a digit of Unicode 16
  EXPECT_EQ(character_class(0x180E), Class::other);    // white space until Unicode 6.2
  EXPECT_EQ(character_class(0x110000), Class::other);
  EXPECT_EQ(character_class(0xFFFFFFFF), Class::other);
}

TEST(Tiktoken, RepairsWhatIsNotUtf8) {
  MEMENGINE_REQUIRE_DATA();
  const auto tokenizer = load_tiktoken(test_data_folder() / "tokenizers/llama3.tiktoken");
  EXPECT_EQ(tokenizer->encode("a\xE2\x82 b\xFF", false, false),
            tokenizer->encode("a\xEF\xBF\xBD b\xEF\xBF\xBD", false, false));
  EXPECT_EQ(tokenizer->token_bytes(128000), "");
  EXPECT_EQ(tokenizer->encode("<|end_of_text|>", false, false).front(), 27);  // text, not special
  expect_input_error("outside", [&] { tokenizer->token_bytes(128256); });
}

TEST(Tiktoken, RefusesMalformedRankFiles) {
  std::mt19937 random(22);
  const auto tokens = random_vocabulary(random, 10);
  const std::string good = rank_file(tokens);
  const auto tokenizer = parse_tiktoken("ranks", good);
  EXPECT_EQ(tokenizer->vocab_size(), static_cast<int>(tokens.size()) + 256);
  const auto refuses = [](const std::string& part, const std::string& file) {
    expect_input_error(part, [&] { parse_tiktoken("ranks", file); });
  };
  refuses("ranks:1: not a line", "hello\n");
  refuses("ranks:1: not a line", "YQ== \n");
  refuses("ranks:1: not a line", "YQ= 0\n");
  refuses("ranks:1: not a line", "Y*== 0\n");
  refuses("ranks:1: not a line", "YQ== 0x\n");
  refuses("ranks:1: not a line", "YQ== 99999999999999999999\n");
  refuses("ranks:2: rank 5 where 1 is next", "YQ== 0\nYg== 5\n");
  refuses("ranks:2: a token that came before", "YQ== 0\nYQ== 1\n");
  refuses("has no rank", "YQ== 0\n");
  // No cut and no changed byte may do worse than be refused.
  for (int i = 0; i < 200; ++i) {
    std::string bad = good.substr(0, random() % good.size());
    if (!bad.empty()) bad[random() % bad.size()] = static_cast<char>(random());
    try {
      parse_tiktoken("ranks", bad);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace memengine
