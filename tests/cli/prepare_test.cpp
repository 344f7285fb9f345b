// The command `prepare` as a user meets it: what it says, refuses, leaves behind, and how it stops.
#include <gtest/gtest.h>

#include "tests/cli/program.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

Words prepare_words(const Words& more) {
  Words words = {"prepare", "--tokenizer", "bytes", "--validation", "0.1", "--out", "data"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(PrepareCommand, SaysWhatThereIsAndHowToTrainOnIt) {
  const TemporaryFolder folder;
  folder.write("web/a.jsonl", small_texts());
  folder.write("web/b.jsonl", small_texts());
  folder.write("notes.txt", "one\n\ntwo\n\nthree\n");
  const std::string said = run_well(folder, prepare_words({"--source", "web=web", "--source",
                                                           "notes=notes.txt", "--paragraphs"}));
  expect_contains(said, "web: 2 files, ");
  expect_contains(said, "notes: 1 file, ");
  expect_contains(said, "web tokenize   100%  40 documents");
  expect_contains(said, "to train on it: data.root_dir=data 'data.sources={web: 1, notes: 1}'");
  folder.write("config.yaml", small_config());
  run_well(folder, {"train", "config.yaml", "steps=2", "data.seq_len=3", "data.root_dir=data",
                    "data.sources={web: 1, notes: 1}", "data.tokenizer.name=bytes"});
  EXPECT_FALSE(fs::exists(folder / "data/web/.prepare"));
}

TEST(PrepareCommand, BadLinesAreNamedAndLeaveNothing) {
  const TemporaryFolder folder;
  folder.write("a.jsonl", small_texts() + "{\"text\": 3}\n" + small_texts());
  expect_refusal(folder, prepare_words({"a.jsonl"}),
                 {"a.jsonl:21: field 'text' is not a string", "--max-bad-lines"});
  EXPECT_FALSE(fs::exists(folder / "data")) << "an empty folder stayed";
  fs::create_directories(folder / "mine");
  Words into = prepare_words({"a.jsonl"});
  std::replace(into.begin(), into.end(), std::string("data"), std::string("mine/x/y"));
  expect_refusal(folder, into, {"a.jsonl:21"});
  EXPECT_TRUE(fs::is_empty(folder / "mine"));
  const std::string said = run_well(folder, prepare_words({"a.jsonl", "--max-bad-lines", "1"}));
  expect_contains(said, "1 bad line skipped");
  expect_contains(said, "    a.jsonl:21: field 'text' is not a string");
}

TEST(PrepareCommand, RefusesOptionsThatWouldDoNothing) {
  const TemporaryFolder folder;
  folder.write("a.jsonl", small_texts());
  folder.write("b.parquet", "PAR1");
  expect_refusal(folder, prepare_words({"a.jsonl", "--train-tokenizer", "300"}),
                 {"--train-tokenizer makes a SentencePiece model"});
  expect_refusal(folder, prepare_words({"a.jsonl", "--tokenizer-path", "x"}),
                 {"--tokenizer bytes has no --tokenizer-path"});
  expect_refusal(folder, prepare_words({"b.parquet"}),
                 {"b.parquet is a Parquet file", "memengine prepare -"});
  EXPECT_FALSE(fs::exists(folder / "data"));
}

TEST(PrepareCommand, ReadsStandardInputAsItComes) {
  const TemporaryFolder folder;
  folder.write("stdin", small_texts());
  folder.write("stdin.jsonl", small_texts());
  const std::string said = run_well(folder, prepare_words({"-"}));
  expect_contains(said, "stdin: standard input");
  expect_contains(said, "stdin tokenize   100%  20 documents");
  expect_contains(said, "data.sources={stdin: 1}");
  run_well(folder, {"prepare", "--tokenizer", "bytes", "--validation", "0.1", "--out", "file",
                    "stdin.jsonl"});
  for (const char* name : {"train_000000.bin", "val_000000.bin"}) {
    EXPECT_TRUE(file_bytes(folder / (std::string("data/stdin/") + name)) ==
                file_bytes(folder / (std::string("file/stdin/") + name)))
        << name;
  }
  // It may be another text now, so it is not "made before".
  expect_refusal(folder, prepare_words({"-"}), {"already holds shards", "overwrite"});
  run_well(folder, prepare_words({"-", "--overwrite"}));
  expect_refusal(folder, prepare_words({"--source", "a=-", "--source", "b=-"}),
                 {"standard input ('-') is named twice"});
}

// The texts that train the tokenizer are tokenized too.
TEST(PrepareCommand, ATokenizerIsTrainedOnStandardInput) {
  const TemporaryFolder folder;
  folder.write("stdin", small_texts());
  const std::string said =
      run_well(folder, {"prepare", "-", "--name", "web", "--train-tokenizer", "280", "--out", "d"});
  expect_contains(said, "tokenizer: 280 of 280 pieces from ");
  expect_contains(said, "web tokenize   100%  20 documents");
}

TEST(PrepareCommand, SaysWhatItLeavesOutAndWhyASourceIsEmpty) {
  const TemporaryFolder folder;
  folder.write("web/a.jsonl", small_texts());
  folder.write("web/.git/b.jsonl", small_texts());
  folder.write("web/notes.pdf", "x");
  expect_contains(run_well(folder, prepare_words({"web"})),
                  "note: web: not read: 1 hidden (.git/), 1 of another kind (notes.pdf)");
  folder.write("nothing.jsonl", "");
  folder.write("blank.txt", " \n");
  folder.write("bad.jsonl", "{\"text\": 1}\n[]\n");
  expect_refusal(folder, prepare_words({"nothing.jsonl"}),
                 {"has no documents: its input is empty"});
  expect_refusal(folder, prepare_words({"blank.txt"}),
                 {"has no documents: its files hold no texts"});
  expect_refusal(folder, prepare_words({"bad.jsonl", "--max-bad-lines", "9"}),
                 {"each of its 2 lines was skipped as bad, the first: bad.jsonl:1: field 'text'"});
}

TEST(PrepareCommand, AnotherTokenizerIsFineWhileNoShardsNeedTheFirst) {
  const TemporaryFolder folder;
  folder.write("a.jsonl", small_texts());
  folder.write("empty.jsonl", "\n");
  const auto train = [](const char* input, const char* pieces) {
    return Words{"prepare", input, "--train-tokenizer", pieces, "--out", "data"};
  };
  Words bad = train("a.jsonl", "280");
  bad.insert(bad.end(), {"--validation-input", "empty.jsonl"});
  expect_refusal(folder, bad, {"no validation documents"});
  EXPECT_TRUE(fs::exists(folder / "data/tokenizer.model"));
  run_well(folder, train("a.jsonl", "285"));
  expect_refusal(folder, train("a.jsonl", "281"), {"is another tokenizer", "--overwrite"});
}

TEST(PrepareCommand, ASignalStopsItAndTheSameCommandGoesOn) {
  const TemporaryFolder folder;
  std::string texts;
  for (int i = 0; i < 200; ++i) texts += small_texts();
  folder.write("a.jsonl", texts);
  run_well(folder, prepare_words({"a.jsonl", "--name", "whole"}));
  const Words words = prepare_words({"a.jsonl", "--name", "whole", "--threads", "1"});
  // The order depends on the source's name, so the second run has the same one elsewhere.
  fs::rename(folder / "data", folder / "first");
  bool stopped = false;
  for (int tries = 0; tries < 20 && !stopped; ++tries) {
    fs::remove_all(folder / "data");
    RunningProgram program(folder, words);
    program.wait_until([&] { return fs::exists(folder / "data/whole/.prepare/train/000.spill"); });
    program.send(SIGTERM);
    const Outcome outcome = program.finish();
    stopped = outcome.code == 128 + SIGTERM &&
              outcome.out.find("the same command goes on") != std::string::npos;
    EXPECT_TRUE(stopped || outcome.code == 0) << outcome.code << outcome.error;
    if (stopped) {
      EXPECT_EQ(outcome.error, "stopping; Ctrl-C once more ends at once\n");
    }
  }
  ASSERT_TRUE(stopped);
  run_well(folder, words);
  for (const char* name : {"train_000000.bin", "val_000000.bin", "train_000000.json"}) {
    EXPECT_TRUE(file_bytes(folder / (std::string("data/whole/") + name)) ==
                file_bytes(folder / (std::string("first/whole/") + name)))
        << name;
  }
}

}  // namespace
}  // namespace memengine
