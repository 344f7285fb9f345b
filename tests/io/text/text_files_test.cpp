// Texts as strangers have them: names and kinds, folders with more in them than texts, compression
// that the name does not tell, JSON in lists and over lines, and standard input's reader of bytes.
#include "io/text/text_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <random>

#include "io/text/text_source.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"
#include "tests/io/text/packed_texts.h"

namespace memengine {
namespace {

TEST(TextFiles, AFolderIsReadWhateverTheCaseAndCompressionAndListsWhatIsNot) {
  const TemporaryFolder folder;
  folder.write("a.JSONL", R"({"text": "upper"})");
  folder.write("b.json.gz", gzip(R"([{"text": "list"}])"));
  folder.write("c.ndjson", R"({"text": "nd"})");
  folder.write("d.zst", zstd("plain"));
  folder.write("e.Zst", zstd("{\"text\": \"lines 1\"}\n{\"text\": \"lines 2\"}\n"));
  folder.write("f/part-00003.gz", gzip("{\n\"text\": \"spread\"\n}"));
  folder.write("g.TXT.GZ", gzip("shout"));
  folder.write("._a.jsonl", R"({"text": "resource fork"})");
  folder.write(".ipynb_checkpoints/a.jsonl", R"({"text": "stale"})");
  folder.write("f/.hidden/x/a.txt", "stale too");
  folder.write("README.md", "no text");
  folder.write("crawl.csv.gz", gzip("id,text\n"));
  folder.write("f/Makefile", "all:\n");
  ::mkfifo((folder / "pipe.txt").c_str(), 0600);
  TextSource source({folder.path()}, {});
  EXPECT_EQ(read_all(source),
            (Texts{"upper", "list", "nd", "plain", "lines 1", "lines 2", "spread", "shout"}));
  ASSERT_EQ(source.left_out().size(), 1u);
  EXPECT_EQ(source.left_out()[0].substr(folder.path().string().size()),
            ": not read: 3 hidden (._a.jsonl, .ipynb_checkpoints/, f/.hidden/), 3 of another kind "
            "(README.md, crawl.csv.gz, f/Makefile), 1 no files (pipe.txt)");
  // Named, they are no secret.
  EXPECT_EQ(read_all({folder / "._a.jsonl", folder / ".ipynb_checkpoints/a.jsonl"}),
            (Texts{"resource fork", "stale"}));
  EXPECT_EQ(read_all({folder / ".ipynb_checkpoints"}), Texts{"stale"});
  expect_input_error("pipe.txt is no regular file", [&] { read_all({folder / "pipe.txt"}); });
}

TEST(TextFiles, FirstBytesTellCompressionNotNames) {
  const TemporaryFolder folder;
  const std::string line = "{\"text\": \"one\"}\n";
  for (const char* name : {"a.jsonl", "b.jsonl.gz", "c.jsonl.zst"}) {
    for (const std::string& bytes : {line, gzip(line), zstd(line), gzip(line) + gzip(line)}) {
      const Texts texts = read_all({folder.write(name, bytes)});
      EXPECT_EQ(texts, Texts(texts.size(), "one")) << name;
      EXPECT_FALSE(texts.empty()) << name;
    }
  }
  const std::string skippable("\x5A\x2A\x4D\x18\x03\x00\x00\x00xyz", 11);
  EXPECT_EQ(read_all({folder.write("d.jsonl", skippable + zstd(line))}), Texts{"one"});
  for (const auto& [bytes, words] :
       {std::pair{std::string("\xFD\x37zXZ\0\0\0", 8), "compressed with xz"},
        {"BZh91AY", "bzip2"},
        {"PK\x03\x04zip", "a zip archive"},
        {"PAR1\x15\x04", "a Parquet file"},
        {"%PDF-1.7\n", "a PDF"},
        {"\xFF\xFEh\0i\0", "UTF-16"}}) {
    expect_input_error(words, [&] { read_all({folder.write("e.txt", bytes)}); });
  }
}

// A window of 128 MiB and more is refused by a decoder that is not told to take it.
TEST(TextFiles, ZstandardWindowsOfTheLongModeAreRead) {
  const TemporaryFolder folder;
  std::mt19937 random(5);
  std::string text;
  for (int i = 0; i < 300'000; ++i) text += static_cast<char>('a' + random() % 26);
  for (const int log : {27, 28, 31}) {
    EXPECT_TRUE(read_all({folder.write("a.txt.zst", zstd(text, log))}) == Texts{text}) << log;
  }
  // A window of 4 GiB by the frame's header: magic, descriptor, exponent 22.
  expect_input_error("larger than 2 GiB (--long=31)", [&] {
    read_all({folder.write(
        "b.txt.zst", std::string("\x28\xB5\x2F\xFD\x00\xB0", 6) + std::string("\x01\x00\x00", 3))});
  });
}

TEST(TextFiles, JsonInListsAndOverLines) {
  const TemporaryFolder folder;
  const auto json = [&](const std::string& bytes) { return folder.write("a.json", bytes); };
  EXPECT_EQ(
      read_all({json(R"([{"text":"a ]} \" ["},{"text":"b\\"} , {"text":"c","m":[{"x":[]}]}])")}),
      (Texts{"a ]} \" [", "b\\", "c"}));
  EXPECT_EQ(
      read_all({json("\xEF\xBB\xBF[\n  {\n    \"text\": \"a\"\n  },\n  {\"text\": \"b\"}\n]\n")}),
      (Texts{"a", "b"}));
  EXPECT_EQ(read_all({json("{\n\"text\":\n\"a\"}{\"text\":\"b\"}\n\n{\"text\":\"c\"\n}")}),
            (Texts{"a", "b", "c"}));
  EXPECT_EQ(read_all({json("{\"text\":\"a\"}\n{\"text\":\"b\"}\n")}), (Texts{"a", "b"}));
  EXPECT_EQ(read_all({json("[]"), json("")}), Texts{});

  expect_input_error("a.json:2: no field 'text'", [&] { read_all({json("[\n{\"t\":1}]")}); });
  expect_input_error("the list does not end", [&] { read_all({json("[{\"text\":\"a\"},\n")}); });
  expect_input_error("an object does not end", [&] { read_all({json("[{\"text\":\"a\"")}); });
  expect_input_error("a comma is missing",
                     [&] { read_all({json("[{\"text\":\"a\"} {\"text\":\"b\"}]")}); });
  expect_input_error("an entry of the list is not an object",
                     [&] { read_all({json("[{\"text\":\"a\"}, 3]")}); });
  // One that lacks its quote costs itself and no other.
  TextSource mended(
      {json("[\n{\"text\":\"a\"},\n{\"text\":\"b},\n{\"text\":\"c\"},\n{\"text\":\"d\"}]")},
      {.max_bad_lines = 1});
  EXPECT_EQ(read_all(mended), (Texts{"a", "c", "d"}));
  EXPECT_NE(mended.problems().at(0).find("a.json:3: not JSON: a string does not end"),
            std::string::npos);
}

// Lists on one line and spread out, of random objects, give what a full parser gives; reading goes
// on at any object.
TEST(TextFiles, JsonListsAgreeWithAFullParser) {
  const TemporaryFolder folder;
  std::mt19937 random(6);
  for (int round = 0; round < 40; ++round) {
    auto list = nlohmann::json::array();
    Texts expected;
    for (std::size_t i = 0; i < 1 + random() % 20; ++i) {
      std::string text;
      for (std::size_t k = random() % 60; k > 0; --k) text += "ab {}[]\",\\\n:"[random() % 12];
      list.push_back({{"id", i}, {"tags", {"{", "]", text}}, {"text", text}});
      expected.push_back(text);
    }
    const int indent = static_cast<int>(random() % 4) - 1;
    const auto path = folder.write("a.json.gz", gzip(list.dump(indent)));
    EXPECT_TRUE(read_all({path}) == expected);
    const std::size_t stop = random() % expected.size();
    TextSource first({path}, {}), second({path}, {});
    std::string text;
    for (std::size_t i = 0; i < stop; ++i) ASSERT_TRUE(first.next(text));
    second.seek(first.position(), 0);
    EXPECT_TRUE(read_all(second) ==
                Texts(expected.begin() + static_cast<long>(stop), expected.end()));
  }
}

TEST(TextFiles, WordsForWhatWasBlankOrCut) {
  const TemporaryFolder folder;
  folder.write("a.txt", std::string(5000, 'x') + " " + std::string(900, 'y'));
  folder.write("b.txt", " \n\t\n");
  folder.write("c.jsonl", "\n");
  folder.write("d.txt", std::string(700, 'z'));
  TextSource source({folder.path()}, {.max_document_bytes = 2048});
  std::string whole;
  for (const std::string& text : read_all(source)) whole += text;
  EXPECT_TRUE(whole ==
              std::string(5000, 'x') + " " + std::string(900, 'y') + std::string(700, 'z'));
  ASSERT_EQ(source.notices().size(), 2u);
  EXPECT_NE(source.notices()[0].find("files without any text: 2: "), std::string::npos);
  EXPECT_NE(source.notices()[1].find(" times: " + (folder / "a.txt").string()), std::string::npos);
  // A text that just fills a document is not cut.
  TextSource full({folder.write("e.txt", std::string(1024, 'x') + "\n \n")},
                  {.max_document_bytes = 2048});
  EXPECT_EQ(read_all(full).size(), 1u);
  EXPECT_TRUE(full.notices().empty());
}

TEST(TextFiles, CarriageReturnsAreLineEnds) {
  const TemporaryFolder folder;
  const auto path = folder.write("a.txt", "one\r\nmore\r\n\r\n \r\ntwo\r\n");
  EXPECT_EQ(read_all({path}, {.paragraphs = true}), (Texts{"one\nmore", "two"}));
  EXPECT_EQ(read_all({path}), Texts{"one\nmore\n\n \ntwo\n"});
}

TEST(TextFiles, FieldsInsideObjects) {
  const TemporaryFolder folder;
  const auto path = folder.write(
      "a.jsonl",
      R"({"data": {"text": "in", "more": {"text": "deeper"}}, "data.text": "named so", "n": NaN})"
      "\n"
      R"({"data": {"text": "in", "x": -Infinity, "more": {"text": "deeper"}}, "y": [Infinity]})");
  EXPECT_EQ(read_all({path}, {.fields = {"data.text"}}), (Texts{"named so", "in"}));
  EXPECT_EQ(read_all({path}, {.fields = {"none", "data.more.text"}}), (Texts{"deeper", "deeper"}));
  expect_input_error("a.jsonl:1: no field 'data.none'",
                     [&] { read_all({path}, {.fields = {"data.none"}}); });
  expect_input_error("field 'data.more' is not a string",
                     [&] { read_all({path}, {.fields = {"data.more"}}); });
  const auto bad = folder.write("b.jsonl", "{\"text\": \"x\", \"n\": -NaN}");
  expect_input_error("not JSON", [&] { read_all({bad}); });
  const auto worse = folder.write("b.jsonl", "{\"text\": \"x\", \"n\": 1Infinity}");
  expect_input_error("not JSON", [&] { read_all({worse}); });
  const auto no_text = folder.write("b.jsonl", "{\"text\": NaN}");
  expect_input_error("field 'text' is not a string", [&] { read_all({no_text}); });
}

TEST(TextFiles, StandardInputIsNamedOnce) {
  expect_input_error("standard input ('-') is named twice", [] { find_text_files({"-", "-"}); });
}

}  // namespace
}  // namespace memengine
