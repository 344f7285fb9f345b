// Shards written and read back, public shards without a sidecar, and every way to be damaged.
#include "io/shards/shard.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

#include "io/shards/shard_summary.h"
#include "io/shards/shard_writer.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

ShardInfo info_for(std::int64_t vocab_size) {
  ShardInfo info;
  info.tokenizer = "bytes";
  info.tokenizer_hash = "0123456789abcdef";
  info.vocab_size = vocab_size;
  info.bos_id = 1;
  return info;
}

std::vector<std::int32_t> random_tokens(std::size_t count, std::int64_t vocab_size) {
  static std::mt19937_64 random(30);
  std::vector<std::int32_t> tokens(count);
  for (auto& token : tokens) {
    token = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(vocab_size));
  }
  return tokens;
}

std::filesystem::path write_shard(const TemporaryFolder& folder, std::int64_t vocab_size,
                                  const std::vector<std::int32_t>& tokens) {
  const auto path = folder / "train_000000.bin";
  ShardWriter writer(path, info_for(vocab_size));
  writer.add_document();
  writer.append(tokens);
  writer.finish();
  return path;
}

class ShardWidth : public testing::TestWithParam<std::int64_t> {};

TEST_P(ShardWidth, ReadsWhatWasWritten) {
  const std::int64_t vocab_size = GetParam();
  for (const std::size_t count : {1u, 19u, 99u, 989u, 600'011u}) {
    const TemporaryFolder folder;
    auto tokens = random_tokens(count, vocab_size);
    tokens.back() = static_cast<std::int32_t>(vocab_size - 1);
    const auto path = write_shard(folder, vocab_size, tokens);
    const Shard shard(path);
    EXPECT_EQ(shard.token_bytes(), vocab_size <= 65536 ? 2 : 4);
    ASSERT_EQ(shard.tokens(), static_cast<std::int64_t>(count));
    std::vector<std::int32_t> read(count, -7);
    EXPECT_EQ(shard.read(0, read), static_cast<std::uint32_t>(vocab_size - 1));
    EXPECT_EQ(read, tokens);
    std::vector<std::int32_t> middle(count / 3);
    shard.read(static_cast<std::int64_t>(count / 2), middle);
    EXPECT_TRUE(std::equal(middle.begin(), middle.end(), tokens.begin() + count / 2));
    EXPECT_THROW(shard.read(1, read), Error);
    EXPECT_THROW(shard.read(-1, middle), Error);
    EXPECT_TRUE(shard.verify_checksum());
    ASSERT_TRUE(shard.info());
    EXPECT_EQ(shard.info()->documents, 1);
    EXPECT_EQ(shard.info()->tokenizer_hash, "0123456789abcdef");
  }
}

INSTANTIATE_TEST_SUITE_P(Shard, ShardWidth, testing::Values(258, 32000, 65536, 65537, 128256));

TEST(Shard, HasTheHeaderOfLlmC) {
  const TemporaryFolder folder;
  const std::string bytes = file_bytes(write_shard(folder, 1000, {1, 2, 999}));
  ASSERT_EQ(bytes.size(), 1024u + 6u);
  std::int32_t header[256];
  std::memcpy(header, bytes.data(), sizeof header);
  EXPECT_EQ(header[0], 20240520);
  EXPECT_EQ(header[1], 1);
  EXPECT_EQ(header[2], 3);
  for (int i = 3; i < 256; ++i) EXPECT_EQ(header[i], 0);
  EXPECT_EQ(bytes.substr(1024), std::string("\1\0\2\0\xE7\3", 6));
}

TEST(Shard, AnUnfinishedWriterLeavesNothing) {
  const TemporaryFolder folder;
  {
    ShardWriter writer(folder / "train_000000.bin", info_for(10));
    writer.append(std::vector<std::int32_t>{1, 2, 3});
    EXPECT_THROW(writer.append(std::vector<std::int32_t>{10}), Error);
    EXPECT_THROW(writer.append(std::vector<std::int32_t>{-1}), Error);
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  expect_input_error("cannot create the file",
                     [&] { ShardWriter(folder / "no/x.bin", info_for(10)); });
}

TEST(Shard, RefusesDamagedFiles) {
  const TemporaryFolder folder;
  const auto path = write_shard(folder, 1000, random_tokens(99, 1000));
  const std::string good = file_bytes(path);
  const std::string sidecar = file_bytes(folder / "train_000000.json");
  const auto refuses = [&](const std::string& part, const std::string& bytes,
                           const std::string& with_sidecar) {
    folder.write("bad.bin", bytes);
    folder.write("bad.json", with_sidecar);
    expect_input_error(part, [&] { Shard shard(folder / "bad.bin"); });
    expect_input_error("bad.", [&] { Shard shard(folder / "bad.bin"); });
  };
  const auto with_word = [&](int index, std::int32_t value) {
    std::string bytes = good;
    std::memcpy(bytes.data() + 4 * index, &value, 4);
    return bytes;
  };
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = sidecar;
    return text.replace(text.find(from), from.size(), to);
  };
  refuses("is empty", "", sidecar);
  refuses("is truncated: 1023 bytes", good.substr(0, 1023), sidecar);
  refuses("is truncated: its header says 99", good.substr(0, good.size() - 1), sidecar);
  refuses("is too long", good + "x", sidecar);
  refuses("magic number is 7", with_word(0, 7), sidecar);
  refuses("has tokens of 2 bytes, but its magic number 20240801 says 4 bytes",
          with_word(0, 20240801).replace(4, 1, "\7"), sidecar);
  refuses("has version 2", with_word(1, 2), sidecar);
  refuses("has 0 tokens", with_word(2, 0).substr(0, 1024), sidecar);
  refuses("says it has -1 tokens", with_word(2, -1), sidecar);
  refuses("is truncated", with_word(2, 2147483647), sidecar);
  refuses("not a shard's sidecar", good, "{");
  refuses("not a shard's sidecar", good, "[1]");
  refuses("not a shard's sidecar", good, std::string((1 << 20) + 1, ' '));
  refuses("not a shard's sidecar", good, replaced("\"documents\"", "\"dokuments\""));
  refuses("not a shard's sidecar", good, replaced("99", "\"99\""));
  refuses("not a shard's sidecar", good, replaced("99", "4e81"));
  refuses("not a shard's sidecar", good, replaced("\"bos_id\":", "\"bos_id\": 1e99, \"b\":"));
  refuses("says 98 tokens but", good, replaced("99", "98"));
  refuses("tokens are 2 bytes wide", good, replaced("1000", "70000"));
  expect_input_error("cannot open shard", [&] { Shard shard(folder / "none.bin"); });
  expect_input_error("not a regular file", [&] { Shard shard(folder.path()); });
}

TEST(Shard, EveryFlippedBitIsFound) {
  const TemporaryFolder folder;
  const auto path = write_shard(folder, 1000, random_tokens(19, 1000));
  const std::string good = file_bytes(path);
  std::filesystem::rename(folder / "train_000000.json", folder / "bad.json");
  for (std::size_t bit = 0; bit < 8 * good.size(); bit += bit < 96 ? 1 : 7) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    folder.write("bad.bin", bytes);
    EXPECT_THROW(Shard(folder / "bad.bin").verify_checksum(), Error) << bit;
  }
  folder.write("bad.bin", good);
  EXPECT_TRUE(Shard(folder / "bad.bin").verify_checksum());
}

TEST(Shard, PublicShardsNeedNoSidecar) {
  const TemporaryFolder folder;
  write_shard(folder, 50257, {50256, 7, 8, 50256, 9});
  const auto path =
      folder.write("fineweb_train_000001.bin", file_bytes(folder / "train_000000.bin"));
  const Shard shard(path);
  EXPECT_FALSE(shard.info());
  EXPECT_FALSE(shard.verify_checksum());
  const auto summary = summarize_shards({path}, {.document_start = 50256});
  EXPECT_EQ(summary.documents, 2);
  EXPECT_EQ(summary.shortest_document, 2);
  EXPECT_EQ(summary.longest_document, 3);
  EXPECT_EQ(summary.largest_token, 50256);
}

// Every token counts with a sidecar; without one, those at both ends of a large file.
TEST(Shard, FingerprintsDiffer) {
  const TemporaryFolder folder;
  for (const std::size_t count : {std::size_t{99}, std::size_t{1} << 18}) {
    std::vector<std::int32_t> tokens(count, 5);
    std::set<std::string> with, without;
    for (const std::size_t at : {count, std::size_t{0}, count / 2, count - 1}) {
      std::fill(tokens.begin(), tokens.end(), 5);
      if (at < count) tokens[at] = 6;
      std::filesystem::remove(folder / "train_000000.bin");
      const auto path = write_shard(folder, 1000, tokens);
      EXPECT_EQ(Shard(path).fingerprint(), Shard(path).fingerprint());
      with.insert(Shard(path).fingerprint());
      std::filesystem::remove(folder / "train_000000.json");
      without.insert(Shard(path).fingerprint());
    }
    EXPECT_EQ(with.size(), 4U);
    EXPECT_GE(without.size(), 3U) << "a token in the middle of a large file may be missed";
  }
}

TEST(Shard, AreFoundByTheirNames) {
  const TemporaryFolder folder;
  for (const char* name : {"train_000001.bin", "train_000000.bin", "edu_fineweb_train_000002.bin",
                           "x_train.bin", "val_000000.bin", "x_val.bin", "retrain_0.bin",
                           "trainer.bin", ".train_3.bin", "train_000009.json"}) {
    folder.write(name, "");
  }
  const auto train = find_shards(folder.path(), "train");
  ASSERT_EQ(train.size(), 4u);
  EXPECT_EQ(train[0].filename(), "edu_fineweb_train_000002.bin");
  EXPECT_EQ(train[1].filename(), "train_000000.bin");
  EXPECT_EQ(train[2].filename(), "train_000001.bin");
  EXPECT_EQ(train[3].filename(), "x_train.bin");
  EXPECT_EQ(find_shards(folder.path(), "val").size(), 2u);
  EXPECT_EQ(find_shards(folder / "x_val.bin", "train").size(), 1u);
  expect_input_error("holds no test shards", [&] { find_shards(folder.path(), "test"); });
  expect_input_error("no such data folder", [&] { find_shards(folder / "none", "train"); });
}

TEST(Shard, SummaryCountsDocumentsAcrossShards) {
  const TemporaryFolder folder;
  const auto bytes = load_tokenizer("bytes", "");
  ShardInfo info = info_for(258);
  info.tokenizer_hash = bytes->hash();
  info.bos_id = 256;
  const std::vector<std::vector<std::int32_t>> contents = {{256, 'H', 'i', 257, 256, 'a', 'b'},
                                                           {'c', 257, 256, 257}};
  std::vector<std::filesystem::path> paths;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    paths.push_back(folder / ("train_" + std::to_string(i) + ".bin"));
    ShardWriter writer(paths.back(), info);
    writer.append(contents[i]);
    writer.finish();
  }
  const auto summary =
      summarize_shards(paths, {.sample_tokens = 4, .verify = true, .tokenizer = bytes.get()});
  EXPECT_EQ(summary.shards, 2);
  EXPECT_EQ(summary.tokens, 11);
  EXPECT_EQ(summary.documents, 3);
  EXPECT_EQ(summary.shortest_document, 2);
  EXPECT_EQ(summary.longest_document, 5);
  ASSERT_EQ(summary.tokens_per_document.size(), 3u);
  EXPECT_EQ(summary.tokens_per_document[1].documents, 1);  // [2, 4)
  EXPECT_EQ(summary.tokens_per_document[2].documents, 2);  // [4, 8)
  EXPECT_EQ(summary.sample_text, "Hi");
  EXPECT_TRUE(summary.verified);
}

}  // namespace
}  // namespace memengine
