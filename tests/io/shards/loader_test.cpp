// The loader against a plain reading of its shards: which windows, which sources, which rank, and
// exactly the same again after a restart.
#include "io/shards/loader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "io/shards/loader_order.h"
#include "io/shards/shard_writer.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

constexpr std::int32_t bos = 1;

// A shard whose token i is base + i, so that a value tells its place; BOS every `document` tokens.
void write_shard(const std::filesystem::path& path, std::int64_t tokens, std::int32_t base,
                 std::int64_t document = 0, const std::string& hash = "aaaa",
                 std::int64_t vocab_size = 1'000'000) {
  std::filesystem::create_directories(path.parent_path());
  ShardInfo info;
  info.tokenizer = "bytes";
  info.tokenizer_hash = hash;
  info.vocab_size = vocab_size;
  ShardWriter writer(path, info);
  for (std::int64_t i = 0; i < tokens; ++i) {
    const auto token = static_cast<std::int32_t>(base + i);
    writer.append(std::vector<std::int32_t>{document > 0 && i % document == 0 ? bos : token});
  }
  writer.finish();
}

struct Rows {
  std::vector<std::vector<std::int32_t>> tokens;
  void add(const Batch& batch) {
    for (std::int64_t b = 0; b < batch.batch_size; ++b) {
      const std::int32_t* row = batch.tokens + b * batch.seq_len;
      tokens.emplace_back(row, row + batch.seq_len);
      // The targets are the tokens one later, in a shard of consecutive numbers.
      for (std::int64_t t = 0; t < batch.seq_len; ++t) {
        ASSERT_EQ(batch.targets[b * batch.seq_len + t], row[t] + 1);
      }
    }
  }
};

LoaderOptions one_source(const TemporaryFolder& folder, std::int64_t batch_size,
                         std::int64_t seq_len) {
  LoaderOptions options;
  options.sources = {{"a", folder / "a", 1}};
  options.batch_size = batch_size;
  options.seq_len = seq_len;
  options.seed = 5;
  return options;
}

TEST(TokenLoader, SeesEveryWindowOnceAnEpochInAnotherOrder) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 989, 1000);   // 51 windows of 19
  write_shard(folder / "a/train_000001.bin", 19, 50000);   // too short for one
  write_shard(folder / "a/train_000002.bin", 20, 60000);   // exactly one
  write_shard(folder / "a/train_000003.bin", 400, 70000);  // 21
  auto options = one_source(folder, 1, 19);
  options.vocab_size = 1'000'000;
  TokenLoader loader(options);
  ASSERT_EQ(loader.windows(0), 52 + 1 + 21);
  EXPECT_EQ(loader.total_tokens(), 989 + 19 + 20 + 400);
  std::set<std::vector<std::vector<std::int32_t>>> orders;
  std::set<std::vector<std::int32_t>> all;
  for (int epoch = 0; epoch < 4; ++epoch) {
    Rows rows;
    for (int i = 0; i < 74; ++i) rows.add(loader.next());
    orders.insert(rows.tokens);
    const std::set<std::vector<std::int32_t>> seen(rows.tokens.begin(), rows.tokens.end());
    EXPECT_EQ(seen.size(), 74u);
    all.insert(seen.begin(), seen.end());
  }
  EXPECT_EQ(orders.size(), 4u);
  EXPECT_EQ(all.size(), 74u);
}

TEST(TokenLoader, InOrderWhenNotShuffled) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 41, 100);
  write_shard(folder / "a/train_000001.bin", 21, 200);
  auto options = one_source(folder, 2, 10);
  options.shuffle = false;
  TokenLoader loader(options);
  std::vector<std::int32_t> firsts;
  for (int i = 0; i < 4; ++i) {
    const Batch batch = loader.next();
    firsts.insert(firsts.end(), {batch.tokens[0], batch.tokens[10]});
  }
  EXPECT_EQ(firsts, (std::vector<std::int32_t>{100, 110, 120, 130, 200, 210, 100, 110}));
}

TEST(TokenLoader, KnowsWhereDocumentsStart) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 99, 1000, 7);
  auto options = one_source(folder, 3, 19);
  options.document_start = bos;
  TokenLoader loader(options);
  const Batch batch = loader.next();
  for (std::int64_t b = 0; b < 3; ++b) {
    std::int32_t start = 0;
    for (std::int32_t t = 0; t < 19; ++t) {
      if (batch.tokens[b * 19 + t] == bos) start = t;
      EXPECT_EQ(batch.doc_start[b * 19 + t], start);
    }
    EXPECT_GT(start, 0);
  }
}

TEST(TokenLoader, GoesOnExactlyWhereItStood) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 500, 1000);
  write_shard(folder / "b/train_000000.bin", 300, 5000);
  write_shard(folder / "b/train_000001.bin", 99, 7000);
  auto options = one_source(folder, 3, 19);
  options.sources.push_back({"b", folder / "b", 0.37});
  Rows whole;
  TokenLoader uninterrupted(options);
  for (int i = 0; i < 60; ++i) whole.add(uninterrupted.next());
  for (const int stop : {0, 1, 2, 19, 59}) {
    Rows rows;
    LoaderPosition position;
    {
      options.prefetch = 1 + stop % 5;
      TokenLoader first(options);
      for (int i = 0; i < stop; ++i) rows.add(first.next());
      position = first.position();
      EXPECT_EQ(position.sequences, 3 * stop);
    }
    TokenLoader second(options, &position);
    for (int i = stop; i < 60; ++i) rows.add(second.next());
    EXPECT_TRUE(rows.tokens == whole.tokens) << stop;
  }
}

TEST(TokenLoader, RanksShareOneStreamWhateverTheirNumber) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 989, 1000);
  write_shard(folder / "b/train_000000.bin", 700, 5000);
  auto options = one_source(folder, 12, 19);
  options.sources.push_back({"b", folder / "b", 2});
  Rows whole;
  TokenLoader single(options);
  for (int i = 0; i < 20; ++i) whole.add(single.next());
  // Ten steps on one rank, then ten on four of three sequences each.
  Rows rows;
  TokenLoader first(options);
  for (int i = 0; i < 10; ++i) rows.add(first.next());
  const LoaderPosition position = first.position();
  options.batch_size = 3;
  options.world = 4;
  std::vector<std::unique_ptr<TokenLoader>> ranks;
  for (options.rank = 0; options.rank < 4; ++options.rank) {
    ranks.push_back(std::make_unique<TokenLoader>(options, &position));
  }
  for (int i = 0; i < 10; ++i) {
    for (const auto& rank : ranks) rows.add(rank->next());
  }
  EXPECT_TRUE(rows.tokens == whole.tokens);
  EXPECT_EQ(ranks[0]->position().sequences, ranks[3]->position().sequences);
}

TEST(TokenLoader, MixesByWeight) {
  const std::vector<double> weights = {0.5, 3, 0, 1.25};
  const double sum = 4.75, draws = 1e6;
  for (const std::uint64_t key : {0ull, 1ull, 42ull}) {
    const SourceMixer mixer(weights, key);
    std::vector<double> counts(4);
    for (std::uint64_t g = 0; g < 1'000'000; ++g) ++counts[mixer.pick(g)];
    for (std::size_t i = 0; i < 4; ++i) {
      const double p = weights[i] / sum;
      EXPECT_LE(std::abs(counts[i] - draws * p), 3 * std::sqrt(draws * p * (1 - p))) << i;
    }
  }
}

TEST(TokenLoader, PermutationsArePermutations) {
  for (const std::uint64_t size : {1u, 2u, 3u, 4u, 5u, 19u, 64u, 65u, 989u, 4097u}) {
    std::set<std::uint64_t> images;
    const Permutation permutation(size, size * 7 + 1);
    for (std::uint64_t i = 0; i < size; ++i) images.insert(permutation(i));
    EXPECT_EQ(images.size(), size);
    EXPECT_EQ(*images.rbegin(), size - 1);
  }
  // Each of the 24 orders of four things is about as frequent as any other.
  std::map<std::vector<std::uint64_t>, int> orders;
  for (std::uint64_t key = 0; key < 24000; ++key) {
    const Permutation permutation(4, hash_counter(3, key));
    ++orders[{permutation(0), permutation(1), permutation(2), permutation(3)}];
  }
  EXPECT_EQ(orders.size(), 24u);
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, 1000, 400);
}

TEST(TokenLoader, KeepsTheLastBatchesAndUsesTheGivenMemory) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 989, 1000);
  auto options = one_source(folder, 2, 19);
  options.keep = 3;
  std::size_t bytes = 0;
  int alive = 0;
  options.allocator = {[&](std::size_t size) {
                         bytes += size;
                         ++alive;
                         return std::malloc(size);
                       },
                       [&](void* memory) {
                         --alive;
                         std::free(memory);
                       }};
  {
    TokenLoader loader(options);
    EXPECT_EQ(bytes, 5u * 3 * 2 * 19 * 4);
    for (int i = 0; i < 40; ++i) {
      const Batch a = loader.next();
      const std::vector<std::int32_t> before(a.tokens, a.tokens + 38);
      loader.next();
      loader.next();
      EXPECT_TRUE(std::equal(before.begin(), before.end(), a.tokens));
    }
  }
  EXPECT_EQ(alive, 0);
}

TEST(TokenLoader, RefusesWhatDoesNotFit) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 99, 1000);
  const auto good = one_source(folder, 2, 19);
  const auto refuses = [&](const std::string& part, auto&& change) {
    auto options = good;
    change(options);
    expect_input_error(part, [&] { TokenLoader loader(options); });
  };
  refuses("made by another tokenizer", [](auto& o) { o.tokenizer_hash = "bbbb"; });
  refuses("set model.vocab_size", [](auto& o) { o.vocab_size = 999; });
  refuses("lower data.seq_len", [](auto& o) { o.seq_len = 99; });
  refuses("no such data folder", [&](auto& o) { o.sources[0].path = folder / "none"; });
  refuses("not negative", [](auto& o) { o.sources[0].weight = -1; });
  refuses("not negative", [](auto& o) { o.sources[0].weight = NAN; });
  refuses("all weights are zero", [](auto& o) { o.sources[0].weight = 0; });
  refuses("appears twice", [](auto& o) { o.sources.push_back(o.sources[0]); });
  refuses("names no source", [](auto& o) { o.sources.clear(); });
  refuses("batch_size", [](auto& o) { o.batch_size = 0; });
  refuses("prefetch_size", [](auto& o) { o.prefetch = 0; });

  TokenLoader loader(good);
  loader.next();
  const LoaderPosition position = loader.position();
  const auto refuses_position = [&](const std::string& part, auto&& change) {
    auto changed = position;
    change(changed);
    expect_input_error(part, [&] { TokenLoader other(good, &changed); });
  };
  refuses_position("seed was 6", [](auto& p) { p.seed = 6; });
  refuses_position("seq_len was 20", [](auto& p) { p.seq_len = 20; });
  refuses_position("source 0 was z", [](auto& p) { p.sources[0].name = "z"; });
  refuses_position("had weight 2", [](auto& p) { p.sources[0].weight = 2; });
  refuses_position("had 7 sequences", [](auto& p) { p.sources[0].windows = 7; });
  refuses_position("do not add up", [](auto& p) { ++p.sequences; });
  refuses_position("negative", [](auto& p) { p.sources[0].drawn = -1; });
  refuses_position("it had 0 data.sources", [](auto& p) { p.sources.clear(); });
}

TEST(TokenLoader, FindsTokensOutsideTheVocabulary) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 99, 1000);
  std::filesystem::remove(folder / "a/train_000000.json");
  auto options = one_source(folder, 1, 19);
  options.shuffle = false;
  options.vocab_size = 1030;
  TokenLoader loader(options);
  loader.next();
  for (int again = 0; again < 2; ++again) {
    expect_input_error("token 1030 at 30 is outside the vocabulary of 1030",
                       [&] { loader.next(); });
  }
}

TEST(TokenLoader, FindsDamageWhenAShardIsFirstUsed) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 39, 1000);
  write_shard(folder / "a/train_000001.bin", 39, 2000);
  write_shard(folder / "a/val_000000.bin", 39, 3000);
  for (const char* name : {"a/train_000001.bin", "a/val_000000.bin"}) {
    std::fstream file(folder / name, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1024 + 4 * 20);
    file.put('\x7E');
  }
  auto options = one_source(folder, 1, 19);
  options.shuffle = false;
  for (const bool async : {true, false}) {
    options.async = async;
    TokenLoader loader(options);
    EXPECT_EQ(loader.next().tokens[0], 1000);
    EXPECT_EQ(loader.next().tokens[0], 1019);
    for (int again = 0; again < 2; ++again) {
      expect_input_error("train_000001.bin is damaged: its checksum", [&] { loader.next(); });
    }
    EXPECT_EQ(loader.position().sequences, 2);
  }
  ValidationReader::Options validation;
  validation.paths = {folder / "a"};
  validation.seq_len = 19;
  ValidationReader reader(validation);
  Batch batch;
  expect_input_error("val_000000.bin is damaged", [&] { reader.next(batch); });
}

TEST(TokenLoader, GivesTheSameBatchesWithoutItsThread) {
  const TemporaryFolder folder;
  write_shard(folder / "a/train_000000.bin", 989, 1000);
  auto options = one_source(folder, 3, 19);
  options.keep = 2;
  TokenLoader ahead(options);
  options.async = false;
  TokenLoader inside(options);
  Batch before;
  for (int step = 0; step < 40; ++step) {
    const Batch a = ahead.next(), b = inside.next();
    EXPECT_TRUE(std::equal(a.tokens, a.tokens + 3 * 57, b.tokens));  // and targets, doc_start
    EXPECT_NE(b.tokens, before.tokens);
    EXPECT_EQ(ahead.position().sequences, inside.position().sequences);
    before = b;
  }
}

TEST(ValidationReader, GoesOnceThroughInOrder) {
  const TemporaryFolder folder;
  write_shard(folder / "a/val_000000.bin", 100, 1000);  // 5 windows of 19
  write_shard(folder / "b/val_000000.bin", 20, 5000);   // 1
  write_shard(folder / "b/val_000001.bin", 58, 6000);   // 3
  ValidationReader::Options options;
  options.paths = {folder / "a", folder / "b"};
  options.batch_size = 2;
  options.seq_len = 19;
  options.world = 2;
  std::vector<std::vector<std::int32_t>> rows(9);
  for (options.rank = 0; options.rank < 2; ++options.rank) {
    ValidationReader reader(options);
    EXPECT_EQ(reader.sequences(), 9);
    for (int pass = 0; pass < 2; ++pass) {
      Batch batch;
      for (std::size_t at = 2u * options.rank; reader.next(batch); at += 4) {
        Rows read;
        read.add(batch);
        ASSERT_LE(at + read.tokens.size(), 9u);
        for (std::size_t i = 0; i < read.tokens.size(); ++i) rows[at + i] = read.tokens[i];
      }
      reader.rewind();
    }
  }
  const std::vector<std::int32_t> firsts = {1000, 1019, 1038, 1057, 1076, 5000, 6000, 6019, 6038};
  for (std::size_t i = 0; i < 9; ++i) {
    ASSERT_EQ(rows[i].size(), 19u) << i;
    EXPECT_EQ(rows[i][0], firsts[i]);
  }
  // Fewer than all: from every shard.
  options.rank = 0;
  options.world = 1;
  for (const auto& [most, expected] : std::vector<std::pair<int, std::vector<std::int32_t>>>{
           {3, {1000, 1057, 6000}}, {4, {1000, 1038, 1076, 6000}}, {1, {1000}}, {10, firsts}}) {
    options.most = most;
    ValidationReader reader(options);
    EXPECT_EQ(reader.sequences(), static_cast<std::int64_t>(expected.size()));
    Batch batch;
    std::vector<std::int32_t> read;
    while (reader.next(batch)) {
      for (std::int64_t row = 0; row < batch.batch_size; ++row) {
        read.push_back(batch.tokens[row * 19]);
      }
    }
    EXPECT_EQ(read, expected);
  }
  options.seq_len = 100;
  expect_input_error("lower data.seq_len", [&] { ValidationReader reader(options); });
}

}  // namespace
}  // namespace memengine
