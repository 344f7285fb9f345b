// The run and evaluation schemas: the reference's keys and defaults, the shipped configs, what is
// refused and in which words.
#include "engine/config/config.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

RunConfig parse(std::string yaml, std::vector<std::string> overrides = {}) {
  for (const char* needed : {"dump_dir=runs/t", "model.n_heads=8"}) {
    overrides.insert(overrides.begin(), needed);
  }
  return parse_run_config(yaml, "t.yaml", overrides);
}

std::string error_of(std::vector<std::string> overrides, const std::string& yaml = "") {
  try {
    parse(yaml, overrides);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

bool says(const std::string& message, const std::string& part) {
  return message.find(part) != std::string::npos;
}

TEST(RunConfig, DefaultsAreTheReferences) {
  const RunConfig run = parse("");
  EXPECT_EQ(run.optim.lr, 3e-4);
  EXPECT_EQ(run.optim.weight_decay, 0.1);
  EXPECT_EQ(run.optim.beta2, 0.95);
  EXPECT_EQ(run.optim.scheduler, Scheduler::cosine);
  EXPECT_EQ(run.optim.warmup, 2000);
  EXPECT_EQ(run.optim.value_clip_norm(), 1.0);
  EXPECT_EQ(run.model.norm_eps, 1e-5);
  EXPECT_EQ(run.model.rope_theta, 1e4);
  EXPECT_EQ(run.model.vocab_size, -1);
  EXPECT_EQ(run.model.max_seqlen, run.data.seq_len);
  EXPECT_EQ(run.model.productkey_args.mem_knn, 32);
  EXPECT_EQ(run.model.productkey_args.value_fixed_lr, 1e-3);
  EXPECT_EQ(run.checkpoint_path(), "runs/t/checkpoints");
  EXPECT_TRUE(run.notices.empty());
  EXPECT_FALSE(run.eval);
}

TEST(RunConfig, ADeviceIsWhatItIsCalled) {
  EXPECT_EQ(choose_device(DeviceChoice::cpu), Device::cpu);
  EXPECT_EQ(choose_device(DeviceChoice::automatic), choose_device("auto"));
  if (choose_device("auto") == Device::cpu)
    EXPECT_THROW(choose_device(DeviceChoice::cuda), Error);
  else
    EXPECT_EQ(choose_device(DeviceChoice::cuda), Device::cuda);
}

TEST(RunConfig, DerivedSizes) {
  ModelConfig model;
  model.dim = 1024;
  model.n_heads = 16;
  EXPECT_EQ(model.head_size(), 64);
  EXPECT_EQ(model.kv_heads(), 16);
  EXPECT_EQ(model.ffn_hidden(), 2816);
  model.ffn_dim_multiplier = 1.3;
  EXPECT_EQ(model.ffn_hidden(), 3584);
  EXPECT_EQ(model.value_dim(), 1024);
  EXPECT_DOUBLE_EQ(model.value_init_std(), 1.0 / 32);
  model.productkey_args.mem_v_dim = 64;
  EXPECT_EQ(model.value_dim(), 64);
  model.dim = 99;
  model.multiple_of = 1;
  model.ffn_dim_multiplier.reset();
  EXPECT_EQ(model.ffn_hidden(), 264);
  model.productkey_args.mem_n_keys = 8000;
  EXPECT_EQ(model.productkey_args.rows(), 64'000'000);
}

TEST(RunConfig, MemoryLayers) {
  const auto layers = [](const std::string& text) {
    ModelConfig model;
    model.n_layers = 24;
    model.productkey_args.is_enabled = true;
    model.productkey_args.layers = text;
    return model.memory_layers();
  };
  EXPECT_EQ(layers("4,12,20"), (std::vector<std::int64_t>{4, 12, 20}));
  EXPECT_EQ(layers(" 20 , 0"), (std::vector<std::int64_t>{0, 20}));
  for (const char* bad : {"", "4,", ",4", "4;5", "24", "-1", "4,4", "x", "99999999999999999999"}) {
    EXPECT_THROW(layers(bad), Error) << bad;
  }
  EXPECT_TRUE(ModelConfig().memory_layers().empty());
  const RunConfig run =
      parse("", {"model.productkey_args.is_enabled=true", "model.productkey_args.layers=4"});
  EXPECT_EQ(run.model.memory_layers(), (std::vector<std::int64_t>{4}));
}

TEST(RunConfig, AReferenceConfigRunsUnchanged) {
  const RunConfig run = parse_run_config(R"(
name: "pkplus"
dump_dir: dump
steps: 100_000
probe_freq: null
seed: 777
gc_collect_freq: 1000
optim: {lr: 3e-4, weight_decay: 0.033, warmup: 5000, lr_min_ratio: 0.000001, clip: 1.0}
distributed:
  fsdp_type: full_shard
  compile: true
  model_dtype: bf16
  matmul_allow_tf32: false
  selective_activation_checkpointing: false
  tp_size: 1
  memory_parallel_size: 1
env: {OMP_NUM_THREADS: "1"}
model:
  dim: 1024
  n_layers: 24
  n_heads: 16
  productkey_args:
    is_enabled: true
    layers: "4,12,20"
    mem_offload: false
data:
  root_dir: data/shuffled
  sources:
    fineweb_edu_10bt_shuffled: 100.0
  batch_size: 4
  prefetch_size: 1024
  seq_len: 4096
  n_views: 2
  load_async: true
  tokenizer: {name: tiktoken, path: tokenizers/llama3.model}
profiling: {run: true, mem_warmup: 0, mem_steps: 4}
checkpoint:
  dump: {every: 10000, keep: -1}
  eval: {every: 1000, keep: 3}
logging:
  freq: 1
  wandb: {project: x, tags: [a]}
async_eval_gpus: null
eval:
  generator: {max_tokens: 16384, dtype: bf16}
  harness:
    tasks:
      - hellaswag
      - task: nq_open
        num_fewshot: 5
      - piqa
)",
                                         "ref.yaml");
  EXPECT_EQ(run.steps, 100'000);
  EXPECT_EQ(run.data.sources.at("fineweb_edu_10bt_shuffled"), 100.0);
  EXPECT_EQ(run.data.tokenizer.name, TokenizerKind::tiktoken);
  EXPECT_EQ(run.checkpoint.dump.keep, -1);
  ASSERT_TRUE(run.eval);
  ASSERT_EQ(run.eval->harness.tasks.size(), 3u);
  EXPECT_EQ(run.eval->harness.tasks[1].task, "nq_open");
  EXPECT_EQ(run.eval->harness.tasks[1].num_fewshot, 5);
  std::string all;
  for (const std::string& notice : run.notices) all += notice + "\n";
  for (const char* key : {"distributed.compile", "distributed.fsdp_type", "env", "logging.wandb",
                          "gc_collect_freq", "profiling.mem_steps"}) {
    EXPECT_TRUE(says(all, key)) << key;
  }
  const RunConfig again = parse_run_config(dump_config(run), "config.yaml");
  EXPECT_EQ(again, run) << dump_config(run);
  // Keys that were ignored are gone; those that are kept, though idle, are said again.
  EXPECT_LT(again.notices.size(), run.notices.size());
}

TEST(RunConfig, WhatThisBuildCannotDo) {
  EXPECT_TRUE(says(error_of({"model.productkey_args.mem_offload=true"}), "FPGA"));
  EXPECT_TRUE(says(error_of({"distributed.model_dtype=fp8"}), "one of fp32, bf16"));
  EXPECT_TRUE(says(error_of({"distributed.dp_shard=0"}), "distributed.dp_shard=0"));
  EXPECT_TRUE(says(error_of({"distributed.float8_recipe=rowwise"}), "8-bit"));
  EXPECT_TRUE(says(error_of({"probe_freq=0"}), "probe_freq=0"));
  EXPECT_TRUE(says(error_of({"data.n_views=3"}), "n_views=3"));
  EXPECT_TRUE(says(error_of({"optim.scheduler=wsd"}), "one of constant, linear, inv_sqrt, cosine"));
}

std::string notices_of(const RunConfig& run) {
  std::string all;
  for (const std::string& notice : run.notices) all += notice + "\n";
  return all;
}

// What the reference's files ask of other machines, in a config of our own.
TEST(RunConfig, KeysOfTheReferencesMachinesAreNoted) {
  const std::string yaml = R"(
name: many_gpus
dump_dir: ${data.root_dir}/../runs/${name}-${seed}
probe_freq: 100
async_eval_gpus: 8
distributed: {fsdp_type: full_shard, compile: true, model_dtype: fp16, memory_parallel_size: 8, dp_shard: 2}
model: {dim: 64, rope_theta: 100_000, attn_impl: sdpa}
data:
  root_dir: /data/texts
  batch_size: 3
  seq_len: 32
  tokenizer: {name: sp}
eval:
  mp_size: 2
  dataset_dir: /sets
  generator: {dtype: fp16, max_tokens: 64}
  harness: {tasks: [piqa, {task: gsm8k, dataset_kwargs: {trust_remote_code: true}}, bbh]}
  validation: {max_steps: 10}
)";
  const RunConfig run =
      parse(yaml, {"grad_acc_steps=2", "dump_dir=${data.root_dir}/${name}-${seed}"});
  EXPECT_EQ(run.dump_dir, "/data/texts/many_gpus-42") << "the seed is the default's";
  EXPECT_EQ(run.probe_freq, 100);
  EXPECT_EQ(run.model.rope_theta, 1e5);
  EXPECT_EQ(run.distributed.model_dtype, ModelDtype::bf16);
  EXPECT_EQ(run.eval->generator.dtype, EvalDtype::bf16);
  EXPECT_EQ(run.eval->harness.tasks.size(), 3U) << "which are here is settled later";
  const std::string notices = notices_of(run);
  for (const char* part :
       {"async_eval_gpus has no effect here", "eval.mp_size has no effect here",
        "eval.dataset_dir has no effect here", "distributed.model_dtype=fp16 is done in BF16",
        "eval.generator.dtype=fp16 is done in BF16",
        "distributed.dp_shard=2, distributed.memory_parallel_size=8: one process trains here, with "
        "6 sequences (192 tokens) a step where the reference's 16 data-parallel GPUs would take 96 "
        "(3072 tokens); grad_acc_steps=32 makes it the same"}) {
    EXPECT_TRUE(says(notices, part)) << "no '" << part << "' in:\n" << notices;
  }
  EXPECT_EQ(parse_run_config(dump_config(run), "config.yaml"), run) << dump_config(run);

  EXPECT_TRUE(says(notices_of(parse("", {"distributed.tp_size=2"})), "GPUs would share"));
  EXPECT_TRUE(says(notices_of(parse("", {"distributed.num_nodes=2", "distributed.gpus_per_node=4",
                                         "distributed.tp_size=2"})),
                   "the reference's 4 data-parallel GPUs"));
  for (const char* none : {"dp_shard=1", "dp_replicate=1", "tp_size=1", "memory_parallel_size=1"}) {
    EXPECT_EQ(notices_of(parse("", {std::string("distributed.") + none})), "");
  }
}

TEST(RunConfig, TheCacheHasASizeOrTakesWhatIsFree) {
  const std::string memory = "model.productkey_args.";
  const auto cache = [&](const std::string& set) {
    return parse("", {memory + "is_enabled=true", memory + "layers=1", memory + "zero_copy=true",
                      memory + set});
  };
  EXPECT_EQ(cache("cache_gib=null").model.productkey_args.cache_gib, std::nullopt);
  for (const char* value : {"2", "0", "0.00008", "1024", "auto"}) {
    const RunConfig run = cache("cache_gib=" + std::string(value));
    EXPECT_EQ(run.model.productkey_args.cache_gib, value);
    EXPECT_EQ(parse_run_config(dump_config(run), "config.yaml"), run) << dump_config(run);
    EXPECT_EQ(notices_of(run), "");
    // The name it had before.
    const RunConfig before = cache("staging_gib=" + std::string(value));
    EXPECT_EQ(before, run);
    EXPECT_TRUE(says(notices_of(before), "staging_gib is read as cache_gib")) << notices_of(before);
  }
  EXPECT_EQ(cache("staging_gib=null").model.productkey_args.cache_gib, std::nullopt);
  for (const char* bad : {"-1", "1025", "much", "2GiB", "nan", "''"}) {
    try {
      cache("cache_gib=" + std::string(bad));
      ADD_FAILURE() << bad << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), Error::Kind::input);
      EXPECT_TRUE(says(error.what(), "give a number of GiB from 0 to 1024, or auto"))
          << error.what();
    }
  }
}

TEST(RunConfig, AnchorsMergesAndHomeInAWholeConfig) {
  ::setenv("MEMENGINE_TEST_STEPS", "30", 1);
  const RunConfig run = parse(
      "optim: &rates {lr: 1e-3, warmup: 3}\nsteps: ${oc.env:MEMENGINE_TEST_STEPS}\n"
      "data: {root_dir: ~/texts, tokenizer: {name: sp, path: ~/sp.model}}\n"
      "checkpoint: {dump: &often {every: 5, keep: 2}, eval: {<<: *often, every: 7}}\n");
  EXPECT_EQ(run.steps, 30);
  EXPECT_EQ(run.checkpoint.eval.every, 7);
  EXPECT_EQ(run.checkpoint.eval.keep, 2);
  EXPECT_FALSE(says(*run.data.root_dir, "~"));
  EXPECT_TRUE(run.data.tokenizer.path->ends_with("/sp.model"));
  EXPECT_FALSE(says(*run.data.tokenizer.path, "~"));
}

TEST(RunConfig, UnknownKeysAndValuesOutOfRange) {
  EXPECT_TRUE(says(error_of({"distributed.qos=lowest"}), "'distributed' has compile") ||
              says(error_of({"distributed.qos=lowest"}), "'distributed' has dp_replicate"))
      << error_of({"distributed.qos=lowest"});
  EXPECT_TRUE(says(error_of({"data_dir=x"}), "'eval.data_dir'"));

  EXPECT_EQ(error_of({}, "model:\n  productkey_args:\n    mem_nkeys: 5\n"),
            "t.yaml:3: unknown key 'model.productkey_args.mem_nkeys'; did you mean "
            "'model.productkey_args.mem_n_keys'?");
  EXPECT_TRUE(says(error_of({"eval.harnes.tasks=[a]"}), "'eval.harness.tasks'"));
  EXPECT_TRUE(says(error_of({"model.dim=130"}), "model.dim=130 is not a multiple"));
  EXPECT_TRUE(says(error_of({"model.dim=24"}), "must be even"));
  EXPECT_TRUE(says(error_of({"model.n_kv_heads=3"}), "n_kv_heads=3"));
  EXPECT_TRUE(says(error_of({"optim.beta1=1"}), "optim.beta1"));
  EXPECT_TRUE(says(error_of({"data.sources={a: -1}"}), "data.sources.a"));
  EXPECT_TRUE(says(error_of({"data.sources={a: 0}"}), "above 0"));
  EXPECT_TRUE(says(error_of({"data.batch_size=1000000", "data.seq_len=100000"}), "2^31"));
  const auto memory_error = [](const std::string& override) {
    return error_of({"model.productkey_args.is_enabled=true", "model.productkey_args.layers=4",
                     "model.productkey_args." + override});
  };
  EXPECT_TRUE(says(memory_error("mem_k_dim=33"), "even"));
  EXPECT_TRUE(says(memory_error("mem_n_keys=31"), "mem_knn=32 exceeds mem_n_keys=31"));
  EXPECT_TRUE(says(memory_error("mem_n_keys=46341"), "46340"));
  EXPECT_TRUE(says(memory_error("mem_heads=0"), "mem_heads=0"));
  EXPECT_TRUE(says(memory_error("layers=8"), "layer 8 does not exist"));
  EXPECT_TRUE(says(
      error_of({"model.productkey_args.is_enabled=true", "model.productkey_args.layers=4",
                "model.productkey_args.peer_variant=true", "model.productkey_args.mem_v_dim=64"}),
      "peer_variant"));
  EXPECT_THROW(parse_run_config("model: {n_heads: 8}", "t.yaml"), Error);  // no dump_dir
}

TEST(RunConfig, AValueOutOfRangeIsFoundWhereItStands) {
  const std::string yaml = "seed: 1\nsteps: -4\n";
  EXPECT_TRUE(error_of({}, yaml).starts_with("t.yaml:2: steps=-4 is out of range"));
  EXPECT_TRUE(error_of({"steps=-5"}, yaml).starts_with("override steps=-5: steps=-5 is out of"));
  EXPECT_TRUE(says(error_of({"data.sources={novels:1}"}), "YAML wants a space after the colon"));
}

TEST(RunConfig, ShippedConfigsLoadWithoutNotices) {
  int seen = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    const std::string path = entry.path().string();
    if (entry.path().extension() != ".yaml") continue;
    if (entry.path().stem() == "eval") {
      const EvalConfig eval = load_eval_config(path);
      EXPECT_TRUE(eval.notices.empty()) << path;
      EXPECT_EQ(parse_eval_config(dump_config(eval), "again"), eval);
    } else {
      const RunConfig run = load_run_config(path);
      EXPECT_TRUE(run.notices.empty()) << path;
      EXPECT_EQ(parse_run_config(dump_config(run), "again"), run) << path;
    }
    ++seen;
  }
  EXPECT_GE(seen, 7);
  const RunConfig zero_copy = load_run_config("configs/zero_copy.yaml");
  EXPECT_EQ(zero_copy.model.productkey_args.rows(), 64'000'000);
  EXPECT_TRUE(zero_copy.model.productkey_args.zero_copy);
  EXPECT_EQ(zero_copy.distributed.model_dtype, ModelDtype::fp32);
  const RunConfig recipe = load_run_config("configs/memory_recipe.yaml");
  EXPECT_EQ(recipe.model.productkey_args.mem_query_norm, QueryNorm::batchnorm);
  EXPECT_EQ(recipe.model.productkey_args.value_fixed_lr, 0.1);
  EXPECT_EQ(recipe.model.memory_layers(), (std::vector<std::int64_t>{2, 4, 6}));
}

TEST(EvalConfig, StandaloneNeedsACheckpoint) {
  EXPECT_THROW(parse_eval_config("", "e.yaml"), Error);
  const std::vector<std::string> overrides{"ckpt_dir=x", "harness.tasks=[piqa]",
                                           "generator.until=['\n']"};
  const EvalConfig eval = parse_eval_config("device: cpu", "e.yaml", overrides);
  EXPECT_EQ(eval.device, DeviceChoice::cpu);
  EXPECT_EQ(eval.harness.tasks[0].task, "piqa");
  EXPECT_FALSE(eval.harness.limit);
}

}  // namespace
}  // namespace memengine
