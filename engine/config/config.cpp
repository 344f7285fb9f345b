// The schema of engine/config/config.h: one bind per key, in the order in which config.yaml is
// written. The same function reads a config (a reader over a file) and dumps one (a reader over
// nothing).
#include "engine/config/config.h"

#include <array>

#include "engine/config/config_keys.h"
#include "engine/config/config_model.h"
#include "engine/config/config_notices.h"
#include "engine/config/file_kind.h"
#include "engine/config/rank_keys.h"
#include "io/config/config_reader.h"
#include "io/text/one_line.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

template <typename Enum>
using Names = std::span<const ConfigReader::Name<Enum>>;

constexpr ConfigReader::Name<DeviceChoice> device_names[] = {
    {"auto", DeviceChoice::automatic}, {"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}};
// FP16 is read as BF16, which needs no scaling of the loss (config_notices.cpp says so).
constexpr ConfigReader::Name<ModelDtype> dtype_names[] = {
    {"fp32", ModelDtype::fp32},    {"bf16", ModelDtype::bf16},     {"fp16", ModelDtype::bf16},
    {"float32", ModelDtype::fp32}, {"bfloat16", ModelDtype::bf16}, {"float16", ModelDtype::bf16}};
constexpr ConfigReader::Name<EvalDtype> eval_dtype_names[] = {
    {"fp32", EvalDtype::fp32},    {"bf16", EvalDtype::bf16},     {"fp16", EvalDtype::bf16},
    {"float32", EvalDtype::fp32}, {"bfloat16", EvalDtype::bf16}, {"float16", EvalDtype::bf16}};
constexpr ConfigReader::Name<TokenizerKind> tokenizer_names[] = {
    {"bytes", TokenizerKind::bytes},
    {"sp", TokenizerKind::sp},
    {"tiktoken", TokenizerKind::tiktoken},
    {"hf", TokenizerKind::hf}};
constexpr ConfigReader::Name<Scheduler> scheduler_names[] = {{"constant", Scheduler::constant},
                                                             {"linear", Scheduler::linear},
                                                             {"inv_sqrt", Scheduler::inv_sqrt},
                                                             {"cosine", Scheduler::cosine}};
constexpr std::string_view only_false[] = {"false", "False"};

void bind_optim(ConfigReader& reader, OptimConfig& optim) {
  reader.bind("optim.lr", optim.lr);
  reader.bind("optim.weight_decay", optim.weight_decay);
  reader.bind("optim.epsilon", optim.epsilon);
  reader.bind("optim.beta1", optim.beta1);
  reader.bind("optim.beta2", optim.beta2);
  reader.bind("optim.clip", optim.clip);
  reader.bind("optim.value_clip", optim.value_clip);
  reader.bind_enum("optim.scheduler", optim.scheduler, Names<Scheduler>(scheduler_names));
  reader.bind("optim.warmup", optim.warmup);
  reader.bind("optim.lr_min_ratio", optim.lr_min_ratio);
  reader.bind("optim.cycle_length", optim.cycle_length);
  reader.bind("optim.cosine_theta", optim.cosine_theta);
  reader.bind("optim.annealing_step", optim.annealing_step);
  reader.bind("optim.exp_factor", optim.exp_factor);
}

constexpr ConfigReader::Name<TrainedPart> trained_names[] = {
    {"all", TrainedPart::all}, {"memory", TrainedPart::memory}, {"values", TrainedPart::values}};

void bind_data(ConfigReader& reader, DataConfig& data) {
  reader.bind_path("data.root_dir", data.root_dir);
  reader.bind("data.sources", data.sources);
  reader.bind("data.batch_size", data.batch_size);
  reader.bind("data.seq_len", data.seq_len);
  reader.bind("data.n_views", data.n_views);
  reader.bind("data.seed", data.seed);
  reader.bind("data.add_bos", data.add_bos);
  reader.bind("data.add_eos", data.add_eos);
  reader.bind("data.load_async", data.load_async);
  reader.bind("data.prefetch_size", data.prefetch_size);
  reader.bind_enum("data.tokenizer.name", data.tokenizer.name,
                   Names<TokenizerKind>(tokenizer_names));
  reader.bind_path("data.tokenizer.path", data.tokenizer.path);
}

void bind_distributed(ConfigReader& reader, DistributedConfig& distributed) {
  reader.bind_enum("distributed.model_dtype", distributed.model_dtype,
                   Names<ModelDtype>(dtype_names));
  reader.bind("distributed.matmul_allow_tf32", distributed.matmul_allow_tf32);
  reader.bind("distributed.zero1", distributed.zero1);
  reader.bind("distributed.dp_replicate", distributed.dp_replicate);
  reader.bind("distributed.dp_shard", distributed.dp_shard);
  reader.bind("distributed.tp_size", distributed.tp_size);
  reader.bind("distributed.memory_parallel_size", distributed.memory_parallel_size);
  reader.bind("distributed.num_nodes", distributed.num_nodes);
  reader.bind("distributed.gpus_per_node", distributed.gpus_per_node);
  reader.require("distributed.float8_recipe", {}, "there is no 8-bit training; set it to null");
  for (const std::string key :
       {"fsdp_type", "compile", "compile_cache_size_limit", "selective_activation_checkpointing",
        "checkpoint_each_layer", "float8_filter", "allow_bf16_reduced_precision_reduction",
        "detect_anomaly", "spawn_method"}) {
    reader.ignore("distributed." + key, "it steers PyTorch");
  }
}

// `prefix` is "" for a standalone evaluation config and "eval." inside a training config.
void bind_eval(ConfigReader& reader, const std::string& prefix, EvalConfig& eval) {
  const auto bind = [&](std::string_view key, auto& field) {
    reader.bind(prefix + std::string(key), field);
  };
  eval.key_prefix = prefix;
  bind("name", eval.name);
  reader.bind_path(prefix + "dump_dir", eval.dump_dir);
  reader.bind_path(prefix + "ckpt_dir", eval.ckpt_dir);
  reader.bind_path(prefix + "metric_log_dir", eval.metric_log_dir);
  reader.bind_path(prefix + "data_dir", eval.data_dir);
  reader.ignore(prefix + "dataset_dir", prefix + "data_dir names the folder of the sets");
  bind("max_length", eval.max_length);
  if (prefix.empty()) reader.bind_enum("device", eval.device, Names<DeviceChoice>(device_names));
  GeneratorConfig& generator = eval.generator;
  bind("generator.temperature", generator.temperature);
  bind("generator.top_p", generator.top_p);
  bind("generator.top_k", generator.top_k);
  bind("generator.max_gen_len", generator.max_gen_len);
  bind("generator.max_tokens", generator.max_tokens);
  bind("generator.max_prompt_len", generator.max_prompt_len);
  bind("generator.until", generator.until);
  reader.bind_enum(prefix + "generator.dtype", generator.dtype, Names<EvalDtype>(eval_dtype_names));
  reader.bind_list(prefix + "harness.tasks", eval.harness.tasks, "task",
                   [&reader](const std::string& path, EvalTask& task) {
                     reader.bind(path + ".task", task.task);
                     reader.bind(path + ".num_fewshot", task.num_fewshot);
                     reader.bind(path + ".limit", task.limit);
                     reader.bind_path(path + ".path", task.path);
                     reader.bind(path + ".name", task.name);
                     reader.ignore(path + ".dataset_kwargs", "sets are read from data_dir");
                   });
  bind("harness.num_fewshot", eval.harness.num_fewshot);
  bind("harness.limit", eval.harness.limit);
  bind("harness.log_samples", eval.harness.log_samples);
  bind("harness.fewshot_random_seed", eval.harness.fewshot_random_seed);
  for (const std::string key : {"compile_prefilling", "reduce_generation_overhead", "show_progress",
                                "device", "attn_impl"}) {
    reader.ignore(prefix + "generator." + key, "it steers PyTorch");
  }
  for (const std::string key :
       {"device", "use_cache", "cache_requests", "rewrite_requests_cache", "delete_requests_cache",
        "bootstrap_iters", "check_integrity", "write_out", "system_instruction",
        "apply_chat_template", "fewshot_as_multiturn", "gen_kwargs", "verbosity", "predict_only",
        "random_seed", "numpy_random_seed", "torch_random_seed", "confirm_run_unsafe_code"}) {
    reader.ignore(prefix + "harness." + key, "it steers the Python harness");
  }
  reader.ignore(prefix + "mp_size", "one process evaluates");
  reader.ignore(prefix + "wandb", "results go to files in dump_dir");
  reader.ignore(prefix + "global_step", "it is read from the checkpoint");
  if (!prefix.empty()) {
    reader.ignore(prefix + "validation", "the top-level key validation measures held-out loss");
  } else {
    reader.ignore("validation", "an evaluation runs the tasks of harness.tasks");
  }
}

void bind_run(ConfigReader& reader, RunConfig& run) {
  reader.bind("name", run.name);
  reader.bind_path("dump_dir", run.dump_dir);
  reader.bind("seed", run.seed);
  reader.bind("steps", run.steps);
  reader.bind("grad_acc_steps", run.grad_acc_steps);
  reader.bind("probe_freq", run.probe_freq);
  reader.bind_enum("device", run.device, Names<DeviceChoice>(device_names));
  reader.bind("cuda_graph", run.cuda_graph);
  bind_optim(reader, run.optim);
  reader.bind_enum("optim.train", run.train, Names<TrainedPart>(trained_names));
  reader.bind("optim.rows_per_step", run.rows_per_step);
  reader.bind("guard.max_bad_steps", run.guard.max_bad_steps);
  reader.bind("guard.spike_window", run.guard.spike_window);
  reader.bind("guard.spike_zscore", run.guard.spike_zscore);
  reader.bind("guard.skip_spikes", run.guard.skip_spikes);
  bind_distributed(reader, run.distributed);
  bind_model(reader, run.model);
  bind_data(reader, run.data);
  reader.bind("checkpoint.dump.every", run.checkpoint.dump.every);
  reader.bind("checkpoint.dump.keep", run.checkpoint.dump.keep);
  reader.bind("checkpoint.eval.every", run.checkpoint.eval.every);
  reader.bind("checkpoint.eval.keep", run.checkpoint.eval.keep);
  reader.bind_path("checkpoint.path", run.checkpoint.path);
  reader.bind_path("checkpoint.init_ckpt_path", run.checkpoint.init_ckpt_path);
  reader.bind("checkpoint.increment_share", run.checkpoint.increment_share);
  reader.bind("checkpoint.skip_damaged", run.checkpoint.skip_damaged);
  reader.bind("checkpoint.force_resume", run.checkpoint.force_resume);
  reader.bind("checkpoint.retry_minutes", run.checkpoint.retry_minutes);
  reader.require("checkpoint.continue_training_from_init", only_false,
                 "a run continues from its own checkpoint.path");
  reader.bind("logging.freq", run.logging.freq);
  reader.bind("logging.acc_freq", run.logging.acc_freq);
  reader.bind("logging.tensorboard", run.logging.tensorboard);
  reader.ignore(
      "logging.wandb",
      "metrics go to metrics.jsonl in dump_dir; with logging.tensorboard=true, `wandb sync "
      "--sync-tensorboard` uploads <dump_dir>/tensorboard");
  reader.bind("validation.every", run.validation.every);
  reader.bind("validation.batches", run.validation.batches);
  reader.bind("profiling.run", run.profile);
  for (const std::string key :
       {"trace_folder", "mem_warmup", "mem_steps", "profile_warmup", "profile_steps"}) {
    reader.ignore("profiling." + key, "it steers PyTorch's profiler");
  }
  for (const std::string key : {"gc_collect_freq", "env"}) {
    reader.ignore(key, "it steers Python");
  }
  for (const std::string key : {"async_eval_gpus", "eval_on_gpus"}) {
    reader.ignore(key, "evaluation runs within the training process");
  }
  if (run.eval || reader.has("eval.harness") || reader.has("eval.generator")) {
    if (!run.eval) run.eval.emplace();
    bind_eval(reader, "eval.", *run.eval);
  } else if (reader.has("eval")) {
    EvalConfig unused;  // names the known keys, so that a misspelt one is still found
    bind_eval(reader, "eval.", unused);
    if (!(unused == EvalConfig())) run.eval = unused;
  }
}

// Says where a value that did not pass stands: the message starts with its key, which a line of the
// config or an override may have set; else the config as a whole is named.
template <typename Config, typename Check>
void validate_named(const Config& config, const ConfigReader& reader, const std::string& name,
                    Check check) {
  try {
    check(config);
  } catch (const Error& error) {
    const std::string message = error.what();
    const std::string key = message.substr(0, message.find_first_of("=: "));
    const std::string where = reader.has(key) ? reader.where(key) : name;
    // A value that the message shows may have several lines.
    throw Error(error.kind(), one_line(where + ": " + message, 2000));
  }
}

RunConfig run_from(ConfigReader reader, const std::string& name, RankPlace ranks) {
  RunConfig run;
  run.ranks = ranks;
  bind_run(reader, run);
  EvalConfig unused;  // a key that belongs there is known as such
  if (!reader.has("eval")) bind_eval(reader, "eval.", unused);
  reader.finish();
  run.notices = run_notices(reader, run);
  run.model.max_seqlen = run.data.seq_len;
  validate_named(run, reader, name, [](const RunConfig& config) {
    validate(config);
    check_rank_keys(config);
  });
  return run;
}

EvalConfig eval_from(ConfigReader reader, const std::string& name) {
  EvalConfig eval;
  bind_eval(reader, "", eval);
  reader.finish();
  eval.notices = eval_notices(reader);
  validate_named(eval, reader, name, [](const EvalConfig& config) { validate(config, true); });
  return eval;
}

// What `load` reads from the file; where it cannot, and the file is of another kind, that is said.
template <typename Load>
auto of_kind(FileKind kind, const std::string& path, Load load) {
  try {
    return load();
  } catch (const Error& error) {
    if (error.kind() == Error::Kind::input) refuse_other_kind(path, kind);
    throw;
  }
}

}  // namespace

RunConfig load_run_config(const std::string& path, std::span<const std::string> overrides,
                          RankPlace ranks) {
  return of_kind(FileKind::run, path, [&] {
    return run_from(ConfigReader::from_file(path, overrides, dump_config(RunConfig())), path,
                    ranks);
  });
}

Device choose_device(DeviceChoice choice) {
  for (const auto& [word, named] : device_names) {
    if (named == choice) return choose_device(std::string(word));
  }
  fail_internal("no word for device {}", static_cast<int>(choice));
}

RunConfig parse_run_config(std::string_view yaml, const std::string& name,
                           std::span<const std::string> overrides, RankPlace ranks) {
  return run_from(ConfigReader::from_text(yaml, name, overrides, dump_config(RunConfig())), name,
                  ranks);
}

bool is_eval_config(const std::string& path, std::span<const std::string> overrides) {
  return of_kind(FileKind::run, path, [&] {
    const ConfigReader reader = ConfigReader::from_file(path, overrides, dump_config(RunConfig()));
    return reader.has("harness") || reader.has("ckpt_dir");
  });
}

EvalConfig load_eval_config(const std::string& path, std::span<const std::string> overrides) {
  return of_kind(FileKind::evaluation, path, [&] {
    return eval_from(ConfigReader::from_file(path, overrides, dump_config(EvalConfig())), path);
  });
}

EvalConfig parse_eval_config(std::string_view yaml, const std::string& name,
                             std::span<const std::string> overrides) {
  return eval_from(ConfigReader::from_text(yaml, name, overrides, dump_config(EvalConfig())), name);
}

std::string dump_config(const RunConfig& config) {
  ConfigReader recorder;
  RunConfig copy = config;
  bind_run(recorder, copy);
  return recorder.dump();
}

std::string dump_config(const EvalConfig& config) {
  ConfigReader recorder;
  EvalConfig copy = config;
  bind_eval(recorder, "", copy);
  return recorder.dump();
}

std::vector<std::pair<std::string, std::string>> config_values(const RunConfig& config) {
  ConfigReader recorder;
  RunConfig copy = config;
  bind_run(recorder, copy);
  return recorder.values();
}

std::vector<std::string> run_config_keys() {
  ConfigReader recorder;
  RunConfig run;
  run.eval.emplace();
  bind_run(recorder, run);
  return recorder.keys();
}

std::vector<std::string> eval_config_keys() {
  ConfigReader recorder;
  EvalConfig eval;
  bind_eval(recorder, "", eval);
  return recorder.keys();
}

bool RunConfig::operator==(const RunConfig& other) const {
  return dump_config(*this) == dump_config(other);
}

bool EvalConfig::operator==(const EvalConfig& other) const {
  return dump_config(*this) == dump_config(other);
}

}  // namespace memengine
