// Everything a run is told: the YAML schema, bound to plain structs.
//
// The schema is Meta Lingua's (with the memory layers' productkey_args), so a researcher's config
// runs unchanged. Keys of it that mean nothing here, or only how many GPUs share the work, are
// accepted and listed in `notices`; keys that ask for what this build cannot do are input errors.
// Keys of our own, beyond the reference's:
//
//   device                                    auto | cpu | cuda
//   cuda_graph                                replay the step as a CUDA graph (GPU only)
//   checkpoint.increment_share                a checkpoint holds only the table rows updated since
//                                             the last full one, as long as they are no more than
//                                             this share of the table (0: all are full); the last
//                                             checkpoint of a run is always full
//   checkpoint.skip_damaged                   resume passes over damaged checkpoints, naming them
//   checkpoint.force_resume                   resume although keys changed that make another run
//   distributed.zero1                         each of several ranks has the optimizer's state of
//   its
//                                             part of the dense weights alone
//                                             (engine/training/exchange/weight_shards.h)
//   validation.every, .batches                loss on held-out data every so many steps (0: never)
//                                             over so many batches (0: all of it)
//   optim.train                               all | memory | values: what is trained; the rest
//   stays
//                                             as checkpoint.init_ckpt_path gives it
//   optim.rows_per_step                       most rows of a table that a step updates, those that
//                                             other text seldom reads (kernels/table/choose_rows.h;
//                                             null: all that it picks)
//   optim.value_clip                          largest gradient norm of the value table (null: clip)
//   guard.max_bad_steps                       training stops after so many updates in a row were
//                                             skipped because loss or gradient norm were NaN or
//                                             infinite (0: never)
//   guard.spike_window, .spike_zscore         a spike is a loss or norm so many deviations above
//                                             the mean of so many updates (window 0: none)
//   guard.skip_spikes                         leave the update of a spike out
//   checkpoint.retry_minutes                  how long the last save of a run is tried again where
//                                             the disk refuses it
//   eval.data_dir                             folder of the evaluation sets' JSON-lines files
//   (null:
//                                             looked for, see engine/run/settle_evaluation.h)
//   eval.max_length                           longest text in tokens (null: the model's own), the
//                                             harness's model argument of that name
//   logging.tensorboard                       also write TensorBoard event files, to
//                                             <dump_dir>/tensorboard
//   model.document_mask                       attention stays within a document
//   model.rope_scaling.{type, factor, ...}    none | linear | llama3 (kernels/rope_scaling.h)
//   model.qkv_bias, .qk_norm                  biases on queries, keys and values; RMSNorm of every
//                                             query and key head
//   model.productkey_args.placement           replace | beside: instead of the feed-forward, or
//   added
//                                             to it
//   model.productkey_args.mem_query_norm      the norm on the queries, or none
//   model.productkey_args.value_weight_decay  decay of value rows, applied lazily and exactly
//   model.productkey_args.value_init_std      null: v_dim^-1/2
//   model.productkey_args.mem_value_dtype     bf16 | fp32: what the forward pass reads of a row
//   model.productkey_args.value_optimizer     sparse_adam | dense_adamw (the reference's) | sgd
//   model.productkey_args.value_moments       fp32 | bf16 (stochastically rounded)
//   model.productkey_args.value_second_moment element | row: one of Adam's second moments for each
//                                             number of a row, or one for the row
//   model.productkey_args.gather_path         auto | gpu | cpu | both: who reads a host table for
//                                             the GPU (auto: measured when training starts)
//   model.productkey_args.cache_gib           GPU memory for the rows of a host table that steps
//   use
//                                             most: GiB, or auto, what is free (null: a quarter of
//                                             the model's); staging_gib was its name
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/runtime/context.h"
#include "kernels/runtime/ranks/rank_place.h"
#include "model/model_config.h"
#include "optim/optim_config.h"

namespace memengine {

enum class DeviceChoice { automatic, cpu, cuda };
enum class ModelDtype {
  fp32,
  bf16,
  fp64  // no value of the key: checks on the CPU ask for it
};
enum class EvalDtype { fp32, bf16 };
enum class TokenizerKind { bytes, sp, tiktoken, hf };

struct TokenizerConfig {
  TokenizerKind name = TokenizerKind::bytes;
  std::optional<std::string> path;
  bool operator==(const TokenizerConfig&) const = default;
};

struct DataConfig {
  std::optional<std::string> root_dir;
  std::map<std::string, double> sources;  // folder below root_dir -> sampling weight
  std::int64_t batch_size = 2;            // sequences
  std::int64_t seq_len = 2048;            // tokens
  std::int64_t n_views = 2;               // input and targets shifted by one; only 2 is supported
  std::int64_t seed = 42;
  bool add_bos = true;
  bool add_eos = true;
  bool load_async = true;           // batches are filled ahead on a thread of their own
  std::int64_t prefetch_size = 64;  // batches
  TokenizerConfig tokenizer;
  bool operator==(const DataConfig&) const = default;
};

struct DistributedConfig {
  ModelDtype model_dtype = ModelDtype::bf16;
  bool matmul_allow_tf32 = false;
  bool zero1 = false;
  // How the reference shares its work. One rank: they only make a notice. Of several each has a
  // batch, all dense weights and its share of the value table: their number must fit these.
  std::optional<std::int64_t> dp_replicate, dp_shard, tp_size, memory_parallel_size;
  std::optional<std::int64_t> num_nodes, gpus_per_node;

  // Processes of the reference that each take a batch of their own. Memory is shared among
  // data-parallel processes.
  std::int64_t data_parallel() const;

  bool operator==(const DistributedConfig&) const = default;
};

// `every` 0: never. `keep` at most 0: all; otherwise the newest so many.
struct SaveEvery {
  std::int64_t every = 1000;
  std::int64_t keep = 0;
  bool operator==(const SaveEvery&) const = default;
};

struct CheckpointConfig {
  SaveEvery dump;
  SaveEvery eval;                             // evaluation during training, when `eval` is given
  std::optional<std::string> path;            // null: <dump_dir>/checkpoints
  std::optional<std::string> init_ckpt_path;  // start from this model's weights (find_model)
  double increment_share = 0.5;
  bool skip_damaged = true;
  bool force_resume = false;
  double retry_minutes = 10;
  bool operator==(const CheckpointConfig&) const = default;
};

struct LoggingConfig {
  std::int64_t freq = 10;  // steps
  std::optional<std::int64_t> acc_freq;
  bool tensorboard = false;
  bool operator==(const LoggingConfig&) const = default;
};

struct ValidationConfig {
  std::int64_t every = 0;    // steps; 0: never
  std::int64_t batches = 0;  // 0: the whole held-out set
  bool operator==(const ValidationConfig&) const = default;
};

struct GeneratorConfig {
  double temperature = 0.0;  // 0: greedy
  std::optional<double> top_p;
  std::optional<std::int64_t> top_k;
  std::int64_t max_gen_len = 512;
  std::int64_t max_tokens = 1024;  // tokens in one forward pass
  std::optional<std::int64_t> max_prompt_len;
  std::vector<std::string> until;  // stop strings
  // bf16: the fastest, BF16 on a GPU and FP32 on the CPU. fp32: the nearest to the weights' own
  // numbers, on a GPU FP32 with sums in double, on the CPU FP64.
  EvalDtype dtype = EvalDtype::bf16;
  bool operator==(const GeneratorConfig&) const = default;
};

// One evaluation set; in YAML a plain name, or a map {task: name, num_fewshot: 5, limit: 100}.
struct EvalTask {
  std::string task;
  std::optional<std::int64_t> num_fewshot = {};  // null: the harness's
  std::optional<double> limit = {};              // null: the harness's
  std::optional<std::string> path = {};          // of the set; null: below data_dir
  std::optional<std::string> name = {};          // of its results; null: the task's

  const std::string& title() const { return name ? *name : task; }
  bool operator==(const EvalTask&) const = default;
};

struct HarnessConfig {
  std::vector<EvalTask> tasks;
  std::optional<std::int64_t> num_fewshot;
  std::optional<double> limit;  // below 1: share of the items; otherwise their number
  bool log_samples = true;
  std::int64_t fewshot_random_seed = 1234;
  bool operator==(const HarnessConfig&) const = default;
};

// Standalone (configs/eval.yaml) at the top level; inside a training config under `eval`.
struct EvalConfig {
  std::string name = "evals";
  std::string dump_dir;
  std::string ckpt_dir;  // standalone only: a checkpoint folder, or a run's checkpoints/
  std::optional<std::string> metric_log_dir;
  std::optional<std::string> data_dir;
  std::optional<std::int64_t> max_length;
  DeviceChoice device = DeviceChoice::automatic;  // standalone only
  GeneratorConfig generator;
  HarnessConfig harness;
  std::vector<std::string> notices;  // standalone only: sentences to say once
  std::string key_prefix;            // "eval." inside a training config: for messages

  bool operator==(const EvalConfig& other) const;  // notices do not count
};

struct RunConfig {
  std::string name = "memengine";
  std::string dump_dir;
  std::int64_t seed = 42;
  std::int64_t steps = 1000;
  std::int64_t grad_acc_steps = 1;
  std::optional<std::int64_t>
      probe_freq;  // steps between probed ones (engine/training/watch/probe.h)
  DeviceChoice device = DeviceChoice::automatic;
  bool cuda_graph = true;
  DataConfig data;
  OptimConfig optim;
  TrainedPart train = TrainedPart::all;       // optim.train
  std::optional<std::int64_t> rows_per_step;  // optim.rows_per_step
  GuardConfig guard;
  ModelConfig model;
  DistributedConfig distributed;
  CheckpointConfig checkpoint;
  LoggingConfig logging;
  ValidationConfig validation;
  bool profile = false;            // profiling.run
  std::optional<EvalConfig> eval;  // evaluation during training
  RankPlace ranks;  // no key: which of how many processes this is, each with a batch of batch_size
  std::vector<std::string> notices;  // sentences to say once

  bool operator==(const RunConfig& other) const;  // ranks and notices do not count

  std::string checkpoint_path() const {
    return checkpoint.path.value_or(dump_dir + "/checkpoints");
  }
  // Of all ranks.
  std::int64_t tokens_per_step() const {
    return ranks.size * grad_acc_steps * data.batch_size * data.seq_len;
  }
};

// The device that a config's choice means on this machine; errors as in runtime.h.
Device choose_device(DeviceChoice choice);

// Read, bind, check for unknown keys and validate. model.max_seqlen becomes data.seq_len. Overrides
// are `a.b.c=value`. Of several ranks the keys of `distributed` that say how many there are must
// fit their number. Throws input errors of one line.
RunConfig load_run_config(const std::string& path, std::span<const std::string> overrides = {},
                          RankPlace ranks = {});
RunConfig parse_run_config(std::string_view yaml, const std::string& name,
                           std::span<const std::string> overrides = {}, RankPlace ranks = {});
// Whether a file is an evaluation's config (it has `harness` or `ckpt_dir`), not a run's.
bool is_eval_config(const std::string& path, std::span<const std::string> overrides = {});
EvalConfig load_eval_config(const std::string& path, std::span<const std::string> overrides = {});
EvalConfig parse_eval_config(std::string_view yaml, const std::string& name,
                             std::span<const std::string> overrides = {});

// The whole config, defaults included, as YAML in schema order; parsing it gives an equal config.
std::string dump_config(const RunConfig& config);
std::string dump_config(const EvalConfig& config);
// The same key by key: ("optim.lr", "0.0003").
std::vector<std::pair<std::string, std::string>> config_values(const RunConfig& config);

// Input errors for values that contradict each other or cannot be served; load_* calls these. The
// message names the key and its value.
void validate(const ModelConfig& config);
// The same for what this device cannot do.
void check_device(const ModelConfig& config, Device device);
void validate(const OptimConfig& config);
void validate(const DistributedConfig& config);
void validate(const EvalConfig& config, bool standalone);
void validate(const RunConfig& config);

}  // namespace memengine
