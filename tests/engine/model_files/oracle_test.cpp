// Training followed step by step: the losses of 20 steps against an independent implementation.
//
// The oracle is a plain PyTorch model in double precision, written from the papers' formulas, with
// torch.optim.AdamW over all parameters (value tables included, as the reference does) and its own
// gradient clipping. It read its initial weights from a checkpoint of this engine and its tokens
// from the formula below. Each step's batch is the whole data set, so the order of the sequences
// does not matter.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

constexpr int sequences = 4;
constexpr int length = 32;

// 4 x 32 + 1 tokens, so that one epoch is exactly one batch.
std::vector<std::int32_t> oracle_tokens() {
  std::vector<std::int32_t> tokens;
  std::uint64_t state = 1;
  for (int i = 0; i < sequences * length + 1; ++i) {
    state = (state * 1103515245 + 12345) % (std::uint64_t{1} << 31);
    tokens.push_back(static_cast<std::int32_t>(state / 65536 % 61));
  }
  return tokens;
}

struct OracleRun {
  std::string name;
  std::string productkey_args;
  std::vector<double> losses;
};

std::vector<OracleRun> oracle_runs();

class Oracle : public testing::TestWithParam<OracleRun> {};

TEST_P(Oracle, TrainingFollowsIt) {
  TemporaryFolder folder;
  write_byte_shard(folder / "data/train_000000.bin", oracle_tokens());
  const std::string yaml =
      "{name: oracle, device: cpu, seed: 3, steps: 20, dump_dir: " + (folder / "run").string() +
      ", model: {dim: 32, n_layers: 3, n_heads: 4, n_kv_heads: 2, multiple_of: 16, "
      "productkey_args: {is_enabled: true, mem_n_keys: 16, mem_heads: 2, mem_knn: 8, "
      "mem_k_dim: 16, mem_value_dtype: fp32, value_optimizer: dense_adamw, value_fixed_lr: 1e-2, "
      "value_weight_decay: 0.1, " +
      GetParam().productkey_args +
      "}}, optim: {lr: 3e-3, warmup: 5, clip: 0.5}, distributed: {model_dtype: fp32}, data: "
      "{root_dir: " +
      (folder / "data").string() +
      ", batch_size: 4, seq_len: 32, tokenizer: {name: bytes}}, "
      "checkpoint: {dump: {every: 0}}, logging: {freq: 1}}";
  TrainingRecord seen;
  Trainer trainer(parse_run_config(yaml, "oracle"), {&seen});
  trainer.run([] { return false; });
  ASSERT_EQ(seen.losses.size(), GetParam().losses.size());
  for (std::size_t i = 0; i < seen.losses.size(); ++i) {
    EXPECT_NEAR(seen.losses[i], GetParam().losses[i], 1e-4 * GetParam().losses[i]) << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, Oracle, testing::ValuesIn(oracle_runs()),
                         [](const auto& info) { return info.param.name; });

std::vector<OracleRun> oracle_runs() {
  return {
      {"plain", "layers: \"1\"", {6.099817780, 6.099817780, 5.915142903, 5.573357544, 5.198122463,
                                  4.845368505, 4.500973436, 4.188510357, 3.906635864, 3.652579628,
                                  3.423541499, 3.219049642, 3.040541204, 2.888135442, 2.760746085,
                                  2.657417058, 2.573946199, 2.505661034, 2.453669863, 2.414801402}},
      {"shared_batchnorm",
       "layers: \"0,2\", mem_query_norm: batchnorm",
       {6.050314528, 6.050314528, 5.898880668, 5.622572371, 5.325807935, 5.064500973, 4.811193000,
        4.578112595, 4.363093312, 4.156015242, 3.961239439, 3.784941624, 3.630002039, 3.502723455,
        3.388252101, 3.284931810, 3.206534618, 3.142602238, 3.095367788, 3.058796717}},
      {"peer",
       "layers: \"1\", peer_variant: true",
       {6.078326734, 6.078326734, 5.890394675, 5.547546786, 5.178492490, 4.825874277, 4.466953756,
        4.149747010, 3.860730130, 3.607599379, 3.376726248, 3.170376136, 2.986205310, 2.829434225,
        2.694595412, 2.591722082, 2.506977901, 2.438683096, 2.386130131, 2.345971939}},
      {"gated_layernorm",
       "layers: \"1\", mem_gated: true, mem_query_norm: layernorm, mem_v_dim: 24",
       {6.089201099, 6.089201099, 5.907175145, 5.571552113, 5.195210876, 4.849169863, 4.501083532,
        4.188003713, 3.902809969, 3.650527822, 3.425103020, 3.223354555, 3.046824281, 2.893988424,
        2.765541421, 2.662053398, 2.579356167, 2.512013934, 2.460204546, 2.420301385}},
  };
}

}  // namespace
}  // namespace memengine
