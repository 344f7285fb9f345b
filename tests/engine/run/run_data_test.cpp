// Which token starts a document: what the shards say, and what is known of llm.c's own sets.
#include "engine/run/run_data.h"

#include "tests/engine/training/training_testing.h"
#include "tests/expect_input_error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class DocumentStart : public testing::Test {
 protected:
  // A shard of documents of nine tokens, the first of them `start`; of uint32 tokens when the
  // vocabulary needs them. A negative `bos_id`: the sidecar knows none; no sidecar when not `info`.
  void write(const std::string& name, std::int32_t start, std::int64_t vocab_size, bool info,
             std::int32_t bos_id = -1) {
    ShardInfo about;
    about.tokenizer = "bytes";
    about.tokenizer_hash = load_tokenizer("bytes", "")->hash();
    about.vocab_size = vocab_size;
    about.bos_id = bos_id;
    fs::create_directories((folder_ / name).parent_path());
    ShardWriter writer(folder_ / name, about);
    for (std::int32_t i = 0; i < 900; ++i) {
      writer.append(std::vector<std::int32_t>{i % 9 == 0 ? start : 1 + i % 200});
    }
    writer.finish();
    if (!info) fs::remove(shard_sidecar_path(folder_ / name));
  }
  RunConfig config(std::int64_t vocab_size, bool mask = true) const {
    return parse_run_config(
        fmt::format("{{name: t, dump_dir: {0}, model: {{dim: 8, n_layers: 1, n_heads: 2, "
                    "document_mask: {1}, vocab_size: {2}}}, data: {{root_dir: {0}/data, "
                    "batch_size: 2, seq_len: 40}}}}",
                    folder_.path().string(), mask, vocab_size),
        "test");
  }
  std::int32_t start_of(RunConfig config) { return RunData::open(config).document_start(config); }

  TemporaryFolder folder_;
};

TEST_F(DocumentStart, OfLlmcShardsIsTheirTokenizers) {
  write("data/fineweb_train_000001.bin", 50256, 50257, false);
  EXPECT_EQ(start_of(config(50304)), 50256);
  // Seen by the loader and by the reader of held-out data: every ninth token, wherever the window
  // stands.
  write("data/fineweb_val_000000.bin", 50256, 50257, false);
  RunConfig run = config(50304);
  const RunData data = RunData::open(run);
  const auto expect_documents = [](const Batch& batch) {
    for (std::int64_t b = 0; b < batch.batch_size; ++b) {
      std::int32_t start = 0;
      for (std::int32_t t = 0; t < batch.seq_len; ++t) {
        if (batch.tokens[b * batch.seq_len + t] == 50256) start = t;
        EXPECT_EQ(batch.doc_start[b * batch.seq_len + t], start);
      }
      EXPECT_GT(start, 30);
    }
  };
  expect_documents(data.training_loader(run, {}, nullptr)->next());
  Batch held_out;
  ASSERT_TRUE(data.validation_reader(run)->next(held_out));
}

TEST_F(DocumentStart, OfUint32ShardsIsLlama3s) {
  write("data/fineweb_train_000001.bin", 128000, 128256, false);
  EXPECT_EQ(start_of(config(128256)), 128000);
}

TEST_F(DocumentStart, OfOurShardsIsWhatTheirSidecarSays) {
  write("data/train_000000.bin", 7, 258, true, 7);
  EXPECT_EQ(start_of(config(-1)), 7);
  EXPECT_EQ(start_of(config(-1, false)), 256);
}

TEST_F(DocumentStart, OfTheBytesTokenizersShardsWithoutSidecarIsItsOwn) {
  write("data/train_000000.bin", 256, 258, false);
  EXPECT_EQ(start_of(config(-1)), 256);
  EXPECT_EQ(start_of(config(384)), 256);
}

TEST_F(DocumentStart, ThatCannotBeKnownIsRefused) {
  write("data/train_000000.bin", 1, 258, true);
  expect_input_error("train_000000.bin: its documents do not start with a token that marks them",
                     [&] { start_of(config(-1)); });
  EXPECT_EQ(start_of(config(-1, false)), 256) << "nobody asks without the mask";
  write("data/train_000000.bin", 1, 258, false);
  expect_input_error("no sidecar that says which token starts a document",
                     [&] { start_of(config(32000)); });
  write("data/a/train_000000.bin", 256, 258, true, 256);
  write("data/b/train_000000.bin", 255, 258, true, 255);
  fs::remove(folder_ / "data/train_000000.bin");
  expect_input_error("documents start with token 256 in", [&] { start_of(config(-1)); });
}

}  // namespace
}  // namespace memengine
