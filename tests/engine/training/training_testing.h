// Small training runs for tests: data, a config, and a record of what was told.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/run/run_files.h"
#include "engine/training/trainer.h"
#include "io/shards/shard_writer.h"
#include "tests/io/temporary_folder.h"

namespace memengine {

// A shard of one document that the tokenizer "bytes" could have written.
inline void write_byte_shard(const std::filesystem::path& path,
                             const std::vector<std::int32_t>& tokens) {
  ShardInfo info;
  info.tokenizer = "bytes";
  info.tokenizer_hash = load_tokenizer("bytes", "")->hash();
  info.vocab_size = 258;
  info.bos_id = 256;
  std::filesystem::create_directories(path.parent_path());
  ShardWriter writer(path, info);
  writer.append(tokens);
  writer.add_document();
  writer.finish();
}

// Text-like tokens: a random walk that a model can learn something about, with token 99 at
// `rare_at`.
inline std::vector<std::int32_t> random_walk(std::int64_t count, std::int64_t rare_at = -1) {
  std::vector<std::int32_t> tokens;
  std::uint64_t state = 11;
  std::int32_t letter = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    letter = (letter + static_cast<std::int32_t>(state >> 61)) % 7;
    tokens.push_back(i == rare_at ? 99 : i % 50 == 0 ? 256 : letter);
  }
  return tokens;
}

struct TrainingRecord : TrainingListener {
  void started(const RunConfig&, const RunStart& start) override { resumed = start.resumed_step; }
  void stepped(const StepReport& report) override {
    losses.push_back(report.loss);
    last = report;
  }
  void validated(const ValidationReport& report) override { validation.push_back(report.loss); }
  void saved(const SaveReport& report) override { saves.push_back(report); }
  void noticed(const std::string& message) override { notices.push_back(message); }
  void failed(const std::string& message) override { failure = message; }

  bool was_told(const std::string& part) const {
    for (const std::string& notice : notices) {
      if (notice.find(part) != std::string::npos) return true;
    }
    return false;
  }

  std::int64_t resumed = -1;
  std::vector<double> losses, validation;
  StepReport last;
  std::vector<SaveReport> saves;
  std::vector<std::string> notices;
  std::string failure;
};

class SmallRuns : public testing::Test {
 protected:
  // Token 99 stands in one window of the data only.
  SmallRuns() { write_byte_shard(folder_ / "data/train_000000.bin", random_walk(500, 250)); }

  RunConfig config(const std::string& run, const std::vector<std::string>& overrides) const {
    const std::string yaml =
        "{name: test, device: cpu, seed: 5, steps: 12, model: {dim: 8, n_layers: 2, n_heads: 2, "
        "multiple_of: 8, productkey_args: {is_enabled: true, layers: \"1\", mem_n_keys: 16, "
        "mem_heads: 1, mem_knn: 2, mem_k_dim: 8, mem_query_norm: batchnorm, value_fixed_lr: 3e-2, "
        "value_weight_decay: 0.1}}, optim: {lr: 1e-2, warmup: 3}, distributed: {model_dtype: "
        "fp32}, data: {batch_size: 2, seq_len: 16, tokenizer: {name: bytes}}, checkpoint: {dump: "
        "{every: 4, keep: 2}}, logging: {freq: 1}}";
    std::vector<std::string> all = {"dump_dir=" + (folder_ / run).string(),
                                    "data.root_dir=" + (folder_ / "data").string()};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return parse_run_config(yaml, "test", all);
  }

  // Trains until `stop_after` or the end; what was thrown, if anything, is in `error`.
  TrainingRecord train(const std::string& run, const std::vector<std::string>& overrides = {},
                       int stop_after = 1 << 30, FileSystem& files = FileSystem::real()) {
    TrainingRecord record;
    RunFiles run_files([&](const std::string& trouble) { record.noticed(trouble); }, files);
    error.clear();
    try {
      Trainer trainer(config(run, overrides), {&run_files, &record}, files);
      trainer.run([&] { return trainer.step() >= stop_after; });
    } catch (const Error& caught) {
      error = caught.what();
      EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    }
    return record;
  }
  std::filesystem::path checkpoints(const std::string& run) const {
    return folder_ / (run + "/checkpoints");
  }

  TemporaryFolder folder_;
  std::string error;
};

inline std::vector<double> joined(std::vector<double> a, const std::vector<double>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace memengine
