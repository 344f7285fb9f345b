// Documents from every kind of file; JSON strings exact; bad lines named by file and line.
#include "io/text/text_source.h"

#include <gtest/gtest.h>
#include <zstd.h>

#include <nlohmann/json.hpp>
#include <random>

#include "io/json/json_lines.h"
#include "io/text/utf8.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"
#include "tests/io/text/packed_texts.h"

namespace memengine {
namespace {

// One frame that tells its size, as ZSTD_compress writes it.
std::string sized_zstd(const std::string& bytes) {
  std::string packed(ZSTD_compressBound(bytes.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), bytes.data(), bytes.size(), 3));
  return packed;
}

std::string json_lines(const Texts& texts, const std::string& field = "text") {
  std::string lines;
  for (const auto& text : texts) lines += nlohmann::json{{"id", 3}, {field, text}}.dump() + "\n";
  return lines;
}

Texts random_texts(std::size_t count) {
  static std::mt19937 random(40);
  Texts texts;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text;
    for (std::size_t left = random() % 300; left > 0; --left) {
      append_utf8(text, random() % 3 ? random() % 128 : random() % 0x11000);
    }
    texts.push_back(text);
  }
  return texts;
}

TEST(TextSource, ReadsAFolderOfEveryKindInOrder) {
  const TemporaryFolder folder;
  Texts expected;
  const auto add = [&](const Texts& texts) {
    expected.insert(expected.end(), texts.begin(), texts.end());
    return json_lines(texts);
  };
  folder.write("a.jsonl", add(random_texts(989)));
  const std::string two = add(random_texts(99));
  const std::string three = add(random_texts(19)), four = add(random_texts(1));
  const std::string five = add(random_texts(99));
  folder.write("b.jsonl.zst", sized_zstd(two) + sized_zstd(three));
  folder.write("below/c.jsonl.gz", gzip(four) + gzip(five));
  folder.write("d.txt", "one\r\n\n\ntwo");
  folder.write("e.txt.zst", sized_zstd("\xEF\xBB\xBFthree\n"));
  folder.write("f.txt", " \n\n");
  folder.write("notes.md", "not a text");
  expected.insert(expected.end(), {"one\n\n\ntwo", "three\n"});
  EXPECT_TRUE(read_all({folder.path()}) == expected);
}

TEST(TextSource, ParagraphsWhenAsked) {
  const TemporaryFolder folder;
  folder.write("a.txt", "\n\none\nmore\n \t\r\n\n\ntwo\n\n");
  folder.write("b.txt", "three");
  EXPECT_EQ(read_all({folder.path()}, {.paragraphs = true}), (Texts{"one\nmore", "two", "three"}));
}

TEST(TextSource, FieldsInOrderOfPreference) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.jsonl",
                                 "{\"content\": \"c\"}\n\n{\"content\":\"c\",\"text\":\"t\"}\r\n"
                                 "{\"text\":\"t\",\"content\":3, \"body\": \"b\"}");
  EXPECT_EQ(read_all({path}), (Texts{"c", "t", "t"}));
  expect_input_error("a.jsonl:1: no field 'body'", [&] { read_all({path}, {.fields = {"body"}}); });
}

TEST(TextSource, GoesOnWhereAnotherStopped) {
  const TemporaryFolder folder;
  folder.write("a.jsonl", json_lines(random_texts(19)));
  folder.write("b.jsonl.zst", sized_zstd(json_lines(random_texts(19))));
  folder.write("c.txt", "one\n\ntwo\n\nthree\n");
  const TextOptions options = {.paragraphs = true};
  const Texts expected = read_all({folder.path()}, options);
  for (std::size_t stop = 0; stop <= expected.size(); ++stop) {
    TextSource first({folder.path()}, options), second({folder.path()}, options);
    std::string text;
    for (std::size_t i = 0; i < stop; ++i) ASSERT_TRUE(first.next(text));
    second.seek(first.position(), 0);
    EXPECT_TRUE(read_all(second) == Texts(expected.begin() + stop, expected.end())) << stop;
    EXPECT_EQ(second.bytes_read(), second.bytes_total());
  }
}

TEST(TextSource, BadLinesAreNamedCountedAndLimited) {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "a.jsonl",
      "{\"text\":\"1\"}\n{\"text\":\"2\"\n{\"text\":\"\xFF\"}\n{\"x\":1}\n{\"text\":\"3\"}\n");
  expect_input_error("a.jsonl:2: not JSON", [&] { read_all({path}); });
  expect_input_error("a.jsonl:3: not UTF-8 (byte 10 of the line)",
                     [&] { read_all({path}, {.max_bad_lines = 1}); });
  expect_input_error("a.jsonl:4: no field 'text' or 'content'",
                     [&] { read_all({path}, {.max_bad_lines = 2}); });
  TextSource source({path}, {.max_bad_lines = 3});
  EXPECT_EQ(read_all(source), (Texts{"1", "3"}));
  EXPECT_EQ(source.bad_lines(), 3);
  EXPECT_EQ(source.problems().size(), 3u);
  const auto plain = folder.write("b.txt", "fine\nn\xC3t\n");
  expect_input_error("b.txt:2: not UTF-8", [&] { read_all({plain}); });
  EXPECT_EQ(read_all({plain}, {.max_bad_lines = 1}), Texts{});
}

// Whatever its lines look like, a long plain text is cut into documents that are short enough, and
// nothing of it is lost; reading goes on at any of them.
TEST(TextSource, CutsLongPlainTexts) {
  const TemporaryFolder folder;
  std::mt19937 random(9);
  for (const int newlines : {0, 1, 40}) {
    for (const int spaces : {0, 1, 40}) {
      std::string whole;
      while (whole.size() < 20'000) {
        const int dice = static_cast<int>(random() % 200);
        append_utf8(whole, dice < newlines            ? U'\n'
                           : dice < newlines + spaces ? U' '
                                                      : 0x20 + random() % 0x3000);
      }
      const auto path = folder.write("a.txt.gz", gzip(whole));
      const TextOptions options = {.max_document_bytes = 999};
      const Texts texts = read_all({path}, options);
      std::string again;
      for (const std::string& text : texts) {
        EXPECT_LE(text.size(), 999u);
        EXPECT_EQ(find_invalid_utf8(text), text.npos);
        again += text;
      }
      EXPECT_TRUE(again == whole);
      const std::size_t stop = texts.size() / 2;
      TextSource first({path}, options), second({path}, options);
      std::string text;
      for (std::size_t i = 0; i < stop; ++i) ASSERT_TRUE(first.next(text));
      second.seek(first.position(), 0);
      EXPECT_TRUE(read_all(second) == Texts(texts.begin() + stop, texts.end()));
    }
  }
}

TEST(TextSource, TooLongJsonLinesAreBadLines) {
  const TemporaryFolder folder;
  const auto line = [](std::size_t bytes) {
    return "{\"text\": \"" + std::string(bytes, 'x') + "\"}\n";
  };
  const auto path =
      folder.write("a.jsonl", line(100) + line(101) + line(9999) + line(7) + line(602) + line(8));
  const TextOptions options = {.max_bad_lines = 3, .max_document_bytes = 100};
  TextSource source({path}, options);
  EXPECT_EQ(read_all(source),
            (Texts{std::string(100, 'x'), std::string(7, 'x'), std::string(8, 'x')}));
  ASSERT_EQ(source.problems().size(), 3u);
  EXPECT_NE(source.problems()[1].find("a.jsonl:3: a text above"), std::string::npos);
  EXPECT_NE(source.problems()[2].find("a.jsonl:5: a text above"), std::string::npos);
}

TEST(TextSource, RefusesWhatItCannotRead) {
  const TemporaryFolder folder;
  const auto parquet = folder.write("web/a.parquet", "PAR1");
  expect_input_error("is a Parquet file", [&] { read_all({parquet}); });
  expect_input_error("is a Parquet file", [&] { read_all({folder / "web"}); });
  std::filesystem::remove_all(folder / "web");
  const std::string lines = json_lines(random_texts(99));
  expect_input_error("no such input", [&] { read_all({folder / "none.jsonl"}); });
  expect_input_error("holds no texts", [&] { read_all({folder.path()}); });
  expect_input_error("no input files", [] { read_all(std::vector<std::filesystem::path>{}); });
  expect_input_error("not a kind of text", [&] { read_all({folder.write("a.pdf", "x")}); });
  for (const auto& [name, packed] :
       {std::pair{"a.jsonl.zst", sized_zstd(lines)}, {"b.jsonl.gz", gzip(lines)}}) {
    for (const std::size_t cut : {std::size_t{1}, packed.size() / 2, packed.size() - 1}) {
      expect_input_error("is truncated",
                         [&] { read_all({folder.write(name, packed.substr(0, cut))}); });
    }
    expect_input_error("is damaged", [&] {
      read_all({folder.write(name, packed.substr(0, 6) + std::string(200, '\xEE'))});
    });
    expect_input_error("is truncated", [&] { read_all({folder.write(name, "")}); });
  }
}

std::string field_of(const std::string& line) {
  std::string text;
  const std::string problem = read_json_field(line, {"text"}, text);
  return problem.empty() ? text : "error: " + problem;
}

TEST(JsonLines, DecodesStringsExactly) {
  EXPECT_EQ(field_of(R"({"text":"a\"\\\/\b\f\n\r\tz"})"), "a\"\\/\b\f\n\r\tz");
  EXPECT_EQ(field_of(R"({"te\u0078t":"\u00e9\u20AC\ud83d\ude00"})"),
            "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(field_of(R"({"text":"\ud800"})"), r);
  EXPECT_EQ(field_of(R"({"text":"\ude00\ud83dx"})"), r + r + "x");
  EXPECT_EQ(field_of(R"({"text":"\ud83d\ud83d\ude00"})"), r + "\xF0\x9F\x98\x80");
  EXPECT_EQ(field_of(R"({"text":"\ud83d\u0041"})"), r + "A");
  EXPECT_EQ(field_of(R"({"text":"\u0000"})"), std::string(1, '\0'));
  EXPECT_EQ(field_of(R"( { "a" : [ 1 , -2.5e+3, {"text":"inner"}, [] , {} ] , "text" : "x" } )"),
            "x");
  EXPECT_EQ(field_of(R"({"text":"1","text":"2"})"), "2");
  EXPECT_EQ(field_of(R"({"text":null})"), "error: field 'text' is not a string");
  EXPECT_EQ(field_of(R"({"text":"1","text":2})"), "error: field 'text' is not a string");
  // Numbers need not fit anything.
  const std::string many(400, '7');
  EXPECT_EQ(field_of("{\"n\":[1e999,-2.5E-4000,6.6E+610," + many + ",-" + many + "." + many + "e" +
                     many + "],\"text\":\"1" + many + "\\ud800 1e999\"}"),
            "1" + many + r + " 1e999");
  for (const char* number : {"01e999", "1e", "1e+", "-", "1.e999", "1e9e9", "1e99.5", "+1e999"}) {
    EXPECT_EQ(field_of(fmt::format(R"({{"n":{},"text":"x"}})", number)).find("error: not JSON: "),
              0u)
        << number;
  }
  EXPECT_EQ(field_of("\xEF\xBB\xBF{\"text\":\"x\"}").find("error: not JSON: "), 0u);
}

TEST(JsonLines, AgreesWithAFullParserOnMutatedLines) {
  std::mt19937 random(41);
  const std::string seeds[] = {
      R"({"text":"a\u00e9\ud83d\ude00\n","n":[1,2.5,-3e7,{"k":null}],"t":true,"f":false})",
      R"({"id":0,"meta":{"a":{"b":[[],[[]],{}]}},"text":"plain words"})"};
  const std::string letters = "{}[]\",:\\u0019aeE+-.tfn \t\x01\x7F\xC3";
  int accepted = 0;
  for (int i = 0; i < 60000; ++i) {
    std::string line = seeds[i % 2];
    for (std::size_t changes = 1 + random() % 3; changes > 0; --changes) {
      const std::size_t at = random() % line.size();
      if (random() % 3 == 0) {
        line.erase(at, 1);
      } else if (random() % 2) {
        line[at] = letters[random() % letters.size()];
      } else {
        line.insert(at, 1, letters[random() % letters.size()]);
      }
    }
    if (line.find("\\ud") != std::string::npos && i % 2 == 0 &&
        line.find("\\ud83d\\ude00") == std::string::npos) {
      continue;  // the full parser refuses lone surrogates
    }
    const auto parsed = nlohmann::json::parse(line, nullptr, false);
    std::string text;
    const std::string problem = read_json_field(line, {"text"}, text);
    const bool is_text =
        parsed.is_object() && parsed.contains("text") && parsed["text"].is_string();
    if (parsed.is_discarded() && line.find("\\u") != std::string::npos && problem.empty()) continue;
    // Numbers beyond a double's range are JSON all the same.
    if (parsed.is_discarded() && problem.empty() && line.find_first_of("eE") != line.npos) continue;
    ASSERT_EQ(problem.empty(), is_text) << line << "\n" << problem;
    if (is_text) {
      ASSERT_EQ(text, parsed["text"].get<std::string>()) << line;
    }
    accepted += is_text;
  }
  EXPECT_GT(accepted, 1000);
  const std::string open(100000, '['), close(100000, ']');
  EXPECT_NE(field_of("{\"text\":" + open + close + "}").find("nested too deep"), std::string::npos);
  EXPECT_EQ(field_of("{\"text\":" + open).find("error: not JSON: "), 0U);
}

}  // namespace
}  // namespace memengine
