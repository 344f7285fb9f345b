// The shards of prepare against a plain shuffle-free reading: every document once, whole, in an
// order that only the seed decides; and the same bytes after being stopped or killed.
#include "io/prepare/prepare.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "io/shards/shard.h"
#include "io/shards/shard_summary.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

std::string corpus(int documents, int first = 0) {
  std::string lines;
  for (int i = first; i < first + documents; ++i) {
    std::string text = "document " + std::to_string(i) + ":";
    for (int k = 0; k < i * 7919 % 101; ++k) text += " word" + std::to_string(k * i % 13);
    lines += nlohmann::json{{"text", text}}.dump() + "\n";
  }
  return lines;
}

struct Fixture {
  TemporaryFolder folder;
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer("bytes", "");

  PrepareOptions options(const std::string& out) {
    PrepareOptions options;
    options.out_dir = folder / out;
    options.sources = {{"s", {folder / "in"}, {}}};
    options.tokenizer = tokenizer.get();
    options.seed = 7;
    options.threads = 2;
    return options;
  }

  // All files of a prepared source, by name; without the mark, which differs.
  std::map<std::string, std::string> files(const std::string& out) {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder / out)) {
      if (!entry.is_regular_file() || entry.path().filename() == ".memengine") continue;
      files[std::filesystem::relative(entry.path(), folder / out).string()] =
          file_bytes(entry.path());
    }
    return files;
  }

  // The decoded documents of one split, in order.
  std::vector<std::string> documents(const std::string& out, const std::string& split) {
    std::vector<std::string> documents;
    for (const auto& path : find_shards(folder / out / "s", split)) {
      const Shard shard(path);
      EXPECT_TRUE(shard.verify_checksum());
      std::vector<std::int32_t> tokens(static_cast<std::size_t>(shard.tokens()));
      shard.read(0, tokens);
      for (const std::int32_t token : tokens) {
        if (token == 256) documents.emplace_back();
        if (token < 256) documents.back() += static_cast<char>(token);
      }
    }
    return documents;
  }
};

TEST(Prepare, EveryDocumentOnceInAnOrderTheSeedDecides) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(700));
  f.folder.write("in/b.jsonl", corpus(289, 700));
  auto options = f.options("one");
  options.validation_fraction = 0.1;
  const auto result = prepare(options);
  ASSERT_FALSE(result.stopped);
  const PreparedSource& done = result.sources.at(0);
  EXPECT_EQ(done.train_documents, 890);
  EXPECT_EQ(done.val_documents, 99);
  auto train = f.documents("one", "train"), val = f.documents("one", "val");
  EXPECT_EQ(train.size(), 890u);
  EXPECT_EQ(val.size(), 99u);
  std::set<std::string> all(train.begin(), train.end());
  all.insert(val.begin(), val.end());
  EXPECT_EQ(all.size(), 989u);
  std::size_t in_place = 0;  // documents followed by their old neighbour: about one in a shuffle
  for (std::size_t i = 0; i + 1 < train.size(); ++i) {
    in_place += std::stoi(train[i].substr(9)) + 1 == std::stoi(train[i + 1].substr(9));
  }
  EXPECT_LT(in_place, 10u);

  options.out_dir = f.folder / "two";
  options.seed = 8;
  prepare(options);
  EXPECT_NE(f.documents("two", "train"), train);
  const Shard shard(f.folder / "one/s/train_000000.bin");
  EXPECT_EQ(shard.info()->documents, 890);
  EXPECT_EQ(shard.info()->tokenizer, "bytes");
  EXPECT_EQ(shard.info()->tokenizer_hash, f.tokenizer->hash());
  EXPECT_EQ(done.text_bytes + 2 * 989, done.train_tokens + done.val_tokens);
}

TEST(Prepare, ThreadsMemoryAndRestartsDoNotChangeAByte) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(5000));
  auto options = f.options("plain");
  options.validation_fraction = 0.01;
  options.max_shard_tokens = 99'989;
  prepare(options);
  auto expected = f.files("plain");
  EXPECT_GT(expected.size(), 10u);
  int variant = 0;
  for (const int threads : {1, 7}) {
    for (const std::int64_t sort_bytes : {std::int64_t{10'000}, std::int64_t{300'000}}) {
      const std::string out = "variant" + std::to_string(variant++);
      options.out_dir = f.folder / out;
      options.threads = threads;
      options.sort_bytes = sort_bytes;
      prepare(options);
      EXPECT_TRUE(f.files(out) == expected) << threads << " " << sort_bytes;
    }
  }
  // Stopped after every few polls, again and again; at each stop no shard is to be seen.
  options.out_dir = f.folder / "stopped";
  int stops = 0;
  for (bool stopped = true; stopped; ++stops) {
    int polls = 0;
    options.stop = [&] { return ++polls > 3 + 2 * stops; };
    stopped = prepare(options).stopped;
    ASSERT_LT(stops, 300);
    for (const auto& entry : std::filesystem::directory_iterator(options.out_dir / "s")) {
      const auto name = entry.path().filename();
      EXPECT_TRUE(!stopped || name == ".prepare" || name == ".memengine") << entry.path();
    }
  }
  EXPECT_GT(stops, 3);
  EXPECT_TRUE(f.files("stopped") == expected);
}

TEST(Prepare, GoesOnAfterBeingKilled) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(5000));
  auto options = f.options("plain");
  options.threads = 1;
  prepare(options);
  options.out_dir = f.folder / "killed";
  options.checkpoint_seconds = 0;
  for (int polls = 2; polls < 40; polls = polls * 3 / 2 + 1) {
    const pid_t child = ::fork();
    if (child == 0) {
      int seen = 0;
      options.stop = [&] {
        if (++seen == polls) ::kill(::getpid(), SIGKILL);
        return false;
      };
      prepare(options);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
  }
  prepare(options);
  EXPECT_TRUE(f.files("killed") == f.files("plain"));
}

TEST(Prepare, ShardsHaveWholeDocumentsUnlessOneIsLarger) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(99) + "{\"text\":\"" + std::string(5000, 'x') + "\"}\n");
  auto options = f.options("out");
  options.max_shard_tokens = 1000;
  const auto result = prepare(options);
  std::int64_t documents = 0, tokens = 0, cut = 0;
  for (const auto& path : find_shards(f.folder / "out/s", "train")) {
    const Shard shard(path);
    EXPECT_LE(shard.tokens(), 1000);
    std::vector<std::int32_t> read(static_cast<std::size_t>(shard.tokens()));
    shard.read(0, read);
    cut += read[0] != 256;
    documents += shard.info()->documents;
    tokens += shard.tokens();
  }
  EXPECT_EQ(documents, 100);
  EXPECT_EQ(tokens, result.sources[0].train_tokens);
  EXPECT_EQ(cut, 5);
  EXPECT_EQ(f.documents("out", "train").size(), 100u);
}

TEST(Prepare, SeveralSourcesAndAnExplicitValidationInput) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(99));
  f.folder.write("other/b.txt", "one\n\ntwo\n");
  f.folder.write("held/c.jsonl", corpus(19, 5000));
  auto options = f.options("out");
  options.sources[0].validation_inputs = {f.folder / "held"};
  options.sources.push_back({"other", {f.folder / "other"}, {}});
  options.add_eos = false;
  options.text.paragraphs = true;
  const auto result = prepare(options);
  EXPECT_EQ(result.sources.at(0).val_documents, 19);
  EXPECT_EQ(result.sources.at(1).train_documents, 2);
  EXPECT_EQ(result.sources.at(1).train_tokens, 8);
  for (const auto& text : f.documents("out", "val")) EXPECT_GE(std::stoi(text.substr(9)), 5000);
  EXPECT_EQ(Shard(f.folder / "out/other/train_000000.bin").info()->eos_id, -1);
}

TEST(Prepare, KnowsWhatItHasDone) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(99));
  auto options = f.options("out");
  const auto first = prepare(options);
  EXPECT_FALSE(first.sources[0].already_done);
  const auto again = prepare(options);
  EXPECT_TRUE(again.sources[0].already_done);
  EXPECT_EQ(again.sources[0].train_tokens, first.sources[0].train_tokens);
  options.seed = 8;
  expect_input_error("already holds shards made with other settings", [&] { prepare(options); });
  options.overwrite = true;
  options.max_shard_tokens = 1000;
  EXPECT_GT(prepare(options).sources[0].train_shards, 1);
  options.max_shard_tokens = 100'000;
  EXPECT_EQ(prepare(options).sources[0].train_shards, 1);
  EXPECT_EQ(find_shards(f.folder / "out/s", "train").size(), 1u);
}

TEST(Prepare, ReportsProgressAndBadLines) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(99) + "nonsense\n" + corpus(99, 99));
  auto options = f.options("out");
  expect_input_error("a.jsonl:100: not JSON", [&] { prepare(options); });
  options.text.max_bad_lines = 1;
  options.progress_seconds = 0;
  std::vector<PrepareProgress> seen;
  options.progress = [&](const PrepareProgress& progress) { seen.push_back(progress); };
  const auto result = prepare(options);
  EXPECT_EQ(result.sources[0].bad_lines, 1);
  ASSERT_EQ(result.sources[0].problems.size(), 1u);
  EXPECT_EQ(result.sources[0].train_documents, 198);
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().documents, 198);
  EXPECT_EQ(seen.back().bytes_read, seen.back().bytes_total);
}

TEST(Prepare, RefusesWhatCannotWork) {
  Fixture f;
  f.folder.write("in/a.jsonl", "\n\n");
  const auto refuses = [&](const std::string& part, auto&& change) {
    auto options = f.options("out");
    change(options);
    expect_input_error(part, [&] { prepare(options); });
    EXPECT_FALSE(std::filesystem::exists(f.folder / "out"));
  };
  refuses("has no documents", [](auto&) {});
  refuses("no source", [](auto& o) { o.sources.clear(); });
  refuses("cannot name a source", [](auto& o) { o.sources[0].name = "../x"; });
  refuses("appears twice", [](auto& o) { o.sources.push_back(o.sources[0]); });
  refuses("validation fraction", [](auto& o) { o.validation_fraction = 1; });
  refuses("shard size", [](auto& o) { o.max_shard_tokens = 0; });
  refuses("no such input", [&](auto& o) { o.sources[0].inputs = {f.folder / "none"}; });
  refuses("cannot make", [&](auto& o) { o.out_dir = f.folder / "in/a.jsonl"; });
}

// A line without an end hears that it should stop; the text it was stopped in is read again.
TEST(Prepare, StopsInsideALine) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(5));
  f.folder.write("in/b.jsonl", "");
  std::filesystem::resize_file(f.folder / "in/b.jsonl", std::uintmax_t{4} << 40);
  PrepareOptions options = f.options("out");
  const auto start = std::chrono::steady_clock::now();
  options.stop = [&] {
    return std::chrono::steady_clock::now() - start > std::chrono::milliseconds(200);
  };
  EXPECT_TRUE(prepare(options).stopped);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Prepare, AStopInsideATextLosesNothingOfIt) {
  Fixture f;
  std::string text;
  for (int i = 0; text.size() < (6u << 20); ++i) text += "line " + std::to_string(i) + "\n";
  f.folder.write("in/a.txt", "short");
  f.folder.write("in/b.txt", text);
  f.folder.write("in/c.txt", "last");
  PrepareOptions options = f.options("plain");
  prepare(options);
  options.out_dir = f.folder / "stopped";
  int stops = 0;
  for (bool stopped = true; stopped; ++stops) {
    int polls = 0;
    options.stop = [&] { return ++polls > 1 + stops; };
    stopped = prepare(options).stopped;
    ASSERT_LT(stops, 300);
  }
  EXPECT_GT(stops, 3);
  EXPECT_TRUE(f.files("stopped") == f.files("plain"));
}

TEST(Prepare, ADamagedJournalOrSpillStartsOverOrIsRefused) {
  Fixture f;
  f.folder.write("in/a.jsonl", corpus(200));
  prepare(f.options("plain"));
  PrepareOptions options = f.options("out");
  const auto work = f.folder / "out/s/.prepare/train";
  options.stop = [&] { return std::filesystem::exists(work / "journal.json"); };
  ASSERT_TRUE(prepare(options).stopped);
  const std::string journal = file_bytes(work / "journal.json");
  const std::string spill = file_bytes(work / "000.spill");
  options.stop = {};
  const auto with = [&](const std::string& key, const std::string& value) {
    std::string changed = journal;
    const std::size_t at = changed.find("\"" + key + "\":") + key.size() + 3;
    return changed.replace(at, changed.find_first_of(",}", at) - at, value);
  };
  for (const std::string& changed :
       {with("tokens", "9223372036854775807"), with("documents", "-1"), with("line", "\"x\""),
        with("lengths", "[99999999999999]"), with("complete", "3"), std::string("[")}) {
    std::filesystem::remove_all(f.folder / "out/s");
    f.folder.write("out/s/.prepare/train/journal.json", changed);
    f.folder.write("out/s/.prepare/train/000.spill", spill);
    prepare(options);
    EXPECT_TRUE(f.files("out") == f.files("plain")) << changed;
  }
  // The journal holds, the documents do not: a length, and a document of half a token less.
  for (const std::size_t at : {std::size_t{8}, std::size_t{14}}) {
    std::filesystem::remove_all(f.folder / "out/s");
    std::string changed = spill;
    changed[at] = static_cast<char>(changed[at] ^ (at == 8 ? 1 : 0x7f));
    f.folder.write("out/s/.prepare/train/journal.json", journal);
    f.folder.write("out/s/.prepare/train/000.spill", changed);
    expect_input_error("is damaged", [&] { prepare(options); });
  }
}

}  // namespace
}  // namespace memengine
