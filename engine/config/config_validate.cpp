// What a config's values must satisfy, beyond their types. Each message names the key, its value
// and the way out.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <string>

#include "engine/config/cache_size.h"
#include "engine/config/config.h"
#include "kernels/attention/attention.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// Bounds keep every product of sizes within 64 bits, and a slip of the keyboard out of an
// allocator.
constexpr std::int64_t max_size = 1 << 24;

void in_range(const char* key, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    fail_input("{}={} is out of range; give a value from {} to {}", key, value, low, high);
  }
}

void in_range(const char* key, double value, double low, double high) {
  if (!(value >= low && value <= high)) {
    fail_input("{}={} is out of range; give a value from {} to {}", key, value, low, high);
  }
}

void positive(const char* key, double value) {
  if (!(value > 0)) fail_input("{}={} must be above 0", key, value);
}

void validate_productkey(const ModelConfig& model) {
  const ProductKeyConfig& memory = model.productkey_args;
  if (!memory.is_enabled) return;
  model.memory_layers();
  // Rows are numbered in 32 bits: 46340^2 < 2^31.
  in_range("model.productkey_args.mem_n_keys", memory.mem_n_keys, 1, 46340);
  in_range("model.productkey_args.mem_heads", memory.mem_heads, 1, 1024);
  in_range("model.productkey_args.mem_knn", memory.mem_knn, 1, 1024);
  if (memory.mem_knn > memory.mem_n_keys) {
    fail_input("model.productkey_args.mem_knn={} exceeds mem_n_keys={}; lower it", memory.mem_knn,
               memory.mem_n_keys);
  }
  in_range("model.productkey_args.mem_k_dim", memory.mem_k_dim, 2, 1 << 16);
  if (memory.mem_k_dim % 2 != 0) {
    fail_input("model.productkey_args.mem_k_dim={} must be even: queries are split in two halves",
               memory.mem_k_dim);
  }
  if (memory.mem_v_dim != -1) {
    in_range("model.productkey_args.mem_v_dim", memory.mem_v_dim, 1, 1 << 16);
    if (memory.peer_variant) {
      fail_input(
          "model.productkey_args.mem_v_dim={} cannot be combined with peer_variant: PEER's rows "
          "have "
          "the model's dim; leave mem_v_dim out",
          memory.mem_v_dim);
    }
  }
  if (memory.value_fixed_lr) {
    in_range("model.productkey_args.value_fixed_lr", *memory.value_fixed_lr, 0.0, 1e6);
  }
  if ((memory.gather_path == GatherPath::cpu || memory.gather_path == GatherPath::both) &&
      (memory.mem_value_dtype == ValueDtype::fp32 || memory.value_weight_decay > 0)) {
    fail_input(
        "model.productkey_args.gather_path is {}, but with {} the GPU reads more than a row's BF16 "
        "half; set it to auto or gpu",
        memory.gather_path == GatherPath::cpu ? "cpu" : "both",
        memory.value_weight_decay > 0 ? "value_weight_decay" : "mem_value_dtype: fp32");
  }
  if (memory.value_second_moment == SecondMoment::row &&
      memory.value_optimizer != ValueOptimizer::sparse_adam) {
    fail_input(
        "model.productkey_args.value_second_moment: row needs value_optimizer: sparse_adam; "
        "dense_adamw is the reference's, one second moment for each number, and sgd has none");
  }
  cache_bytes(memory);  // says what is wrong
  in_range("model.productkey_args.value_weight_decay", memory.value_weight_decay, 0.0, 1e6);
  if (memory.value_init_std) {
    in_range("model.productkey_args.value_init_std", *memory.value_init_std, 0.0, 1e6);
  }
}

void validate_trained(const RunConfig& run) {
  const ProductKeyConfig& memory = run.model.productkey_args;
  if (run.train != TrainedPart::all && !memory.is_enabled) {
    fail_input(
        "optim.train={} trains memory layers, and the model has none: set "
        "model.productkey_args.is_enabled=true and layers, or optim.train=all",
        run.train == TrainedPart::memory ? "memory" : "values");
  }
  if (!run.rows_per_step) return;
  in_range("optim.rows_per_step", *run.rows_per_step, 1, INT32_MAX);
  if (!memory.is_enabled) {
    fail_input("optim.rows_per_step={} chooses rows of a memory, and the model has none",
               *run.rows_per_step);
  }
  if (memory.value_optimizer == ValueOptimizer::dense_adamw) {
    fail_input(
        "optim.rows_per_step={} needs value_optimizer: sparse_adam or sgd; dense_adamw "
        "updates every row of the table at every step",
        *run.rows_per_step);
  }
}

void validate_save(const char* key, const SaveEvery& save) {
  in_range((std::string(key) + ".every").c_str(), save.every, 0, INT64_C(1) << 40);
  in_range((std::string(key) + ".keep").c_str(), save.keep, -1, 1 << 20);
}

}  // namespace

void check_device(const ModelConfig& model, Device device) {
  constexpr std::int64_t most_knn = 128;  // kernels/product_key/product_key.h
  const ProductKeyConfig& memory = model.productkey_args;
  if (device == Device::cuda && memory.is_enabled && memory.mem_knn > most_knn) {
    fail_input(
        "model.productkey_args.mem_knn={} exceeds {}, the most that a GPU picks; lower it, raise "
        "mem_heads instead, or use device=cpu",
        memory.mem_knn, most_knn);
  }
}

void validate(const ModelConfig& model) {
  in_range("model.dim", model.dim, 1, 1 << 20);
  in_range("model.n_layers", model.n_layers, 1, 10'000);
  if (!model.n_heads && !model.head_dim) {
    fail_input("model.n_heads is missing; give it or model.head_dim");
  }
  if (model.n_heads) in_range("model.n_heads", *model.n_heads, 1, 1 << 16);
  if (model.head_dim) {
    in_range("model.head_dim", *model.head_dim, 2, 1 << 16);
    if (*model.head_dim > model.dim && !model.n_heads) {
      fail_input("model.head_dim={} exceeds model.dim={}; give model.n_heads too", *model.head_dim,
                 model.dim);
    }
    if (!model.n_heads && model.dim % *model.head_dim != 0) {
      fail_input("model.dim={} is not a multiple of model.head_dim={}", model.dim, *model.head_dim);
    }
  } else if (model.dim % *model.n_heads != 0) {
    fail_input(
        "model.dim={} is not a multiple of model.n_heads={}; give model.head_dim or change one",
        model.dim, *model.n_heads);
  }
  if (model.head_size() % 2 != 0) {
    fail_input("the head size {} (model.dim={} / model.n_heads={}) must be even for rotary pairs",
               model.head_size(), model.dim, model.heads());
  }
  if (model.head_size() > AttentionShape::max_head_dim) {
    fail_input("the head size {} (model.dim={}, model.n_heads={}) exceeds {}; raise model.n_heads",
               model.head_size(), model.dim, model.heads(), AttentionShape::max_head_dim);
  }
  if (model.n_kv_heads) {
    in_range("model.n_kv_heads", *model.n_kv_heads, 1, model.heads());
    if (model.heads() % *model.n_kv_heads != 0) {
      fail_input("model.n_heads={} is not a multiple of model.n_kv_heads={}", model.heads(),
                 *model.n_kv_heads);
    }
  }
  if (model.ffn_dim_multiplier) {
    in_range("model.ffn_dim_multiplier", *model.ffn_dim_multiplier, 1e-3, 1e3);
  }
  in_range("model.multiple_of", model.multiple_of, 1, 1 << 20);
  if (model.ffn_hidden() < 1) {
    fail_input("model.ffn_dim_multiplier={} leaves no hidden units", *model.ffn_dim_multiplier);
  }
  positive("model.norm_eps", model.norm_eps);
  positive("model.rope_theta", model.rope_theta);
  const RopeScaling& scaling = model.rope_scaling;
  in_range("model.rope_scaling.factor", scaling.factor, 1e-3, 1e6);
  in_range("model.rope_scaling.low_freq_factor", scaling.low_freq_factor, 1e-3, 1e6);
  in_range("model.rope_scaling.high_freq_factor", scaling.high_freq_factor, 1e-3, 1e6);
  in_range("model.rope_scaling.original_max_position_embeddings",
           scaling.original_max_position_embeddings, 1, max_size);
  if (scaling.type == RopeScalingType::llama3 &&
      scaling.low_freq_factor >= scaling.high_freq_factor) {
    fail_input("model.rope_scaling: low_freq_factor {} must be below high_freq_factor {}",
               scaling.low_freq_factor, scaling.high_freq_factor);
  }
  if (model.init_base_std) in_range("model.init_base_std", *model.init_base_std, 0.0, 1e6);
  in_range("model.max_seqlen", model.max_seqlen, 1, max_size);
  if (model.vocab_size != -1) in_range("model.vocab_size", model.vocab_size, 1, max_size);
  if (model.sliding_window) in_range("model.sliding_window", *model.sliding_window, 1, max_size);
  validate_productkey(model);
}

void validate(const OptimConfig& optim) {
  in_range("optim.lr", optim.lr, 0.0, 1e6);
  in_range("optim.weight_decay", optim.weight_decay, 0.0, 1e6);
  positive("optim.epsilon", optim.epsilon);
  if (!(optim.beta1 >= 0 && optim.beta1 < 1)) {
    fail_input("optim.beta1={} must be at least 0 and below 1", optim.beta1);
  }
  if (!(optim.beta2 >= 0 && optim.beta2 < 1)) {
    fail_input("optim.beta2={} must be at least 0 and below 1", optim.beta2);
  }
  in_range("optim.clip", optim.clip, 0.0, 1e30);
  if (optim.value_clip) in_range("optim.value_clip", *optim.value_clip, 0.0, 1e30);
  in_range("optim.warmup", optim.warmup, 0, INT64_C(1) << 40);
  in_range("optim.lr_min_ratio", optim.lr_min_ratio, 0.0, 1.0);
  positive("optim.cycle_length", optim.cycle_length);
  positive("optim.cosine_theta", optim.cosine_theta);
  in_range("optim.annealing_step", optim.annealing_step, 0, INT64_C(1) << 40);
  positive("optim.exp_factor", optim.exp_factor);
}

void validate(const EvalConfig& eval, bool standalone) {
  if (standalone && eval.ckpt_dir.empty()) {
    fail_input(
        "ckpt_dir is missing; give the checkpoint to evaluate, for instance "
        "ckpt_dir=runs/laptop");
  }
  const std::string prefix = standalone ? "" : "eval.";
  const auto key = [&prefix](const char* name) { return prefix + name; };
  const GeneratorConfig& generator = eval.generator;
  in_range(key("generator.temperature").c_str(), generator.temperature, 0.0, 1e3);
  if (generator.top_p) in_range(key("generator.top_p").c_str(), *generator.top_p, 0.0, 1.0);
  if (generator.top_k) in_range(key("generator.top_k").c_str(), *generator.top_k, 1, max_size);
  in_range(key("generator.max_gen_len").c_str(), generator.max_gen_len, 1, max_size);
  in_range(key("generator.max_tokens").c_str(), generator.max_tokens, 1, max_size);
  if (generator.max_prompt_len) {
    in_range(key("generator.max_prompt_len").c_str(), *generator.max_prompt_len, 1, max_size);
  }
  if (eval.max_length) in_range(key("max_length").c_str(), *eval.max_length, 1, max_size);
  for (const std::string& text : generator.until) {
    if (text.empty()) fail_input("{} has an empty stop string; remove it", key("generator.until"));
  }
  const auto check_shots = [&](const std::optional<std::int64_t>& shots,
                               const std::optional<double>& limit) {
    if (shots) in_range(key("harness.num_fewshot").c_str(), *shots, 0, 1 << 16);
    if (limit) positive(key("harness.limit").c_str(), *limit);
  };
  check_shots(eval.harness.num_fewshot, eval.harness.limit);
  for (const EvalTask& task : eval.harness.tasks) {
    if (task.task.empty()) {
      fail_input("{} has an entry without `task`; give each a name", key("harness.tasks"));
    }
    check_shots(task.num_fewshot, task.limit);
    const std::string& title = task.title();
    const bool safe = std::all_of(title.begin(), title.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.';
    });
    if (task.name && (title.empty() || !safe)) {
      fail_input("{}: the name '{}' of {} names files: write letters, digits, and any of _-.",
                 key("harness.tasks"), title, task.task);
    }
  }
  const std::vector<EvalTask>& tasks = eval.harness.tasks;
  for (auto task = tasks.begin(); task != tasks.end(); ++task) {
    if (std::any_of(tasks.begin(), task,
                    [&](const EvalTask& t) { return t.title() == task->title(); })) {
      fail_input("{} has {} twice, whose results would replace each other: give each a `name`",
                 key("harness.tasks"), task->title());
    }
  }
}

void validate(const DistributedConfig& distributed) {
  const auto count = [](const char* key, const std::optional<std::int64_t>& value) {
    if (value) in_range(key, *value, 1, 1 << 20);
  };
  count("distributed.dp_replicate", distributed.dp_replicate);
  count("distributed.dp_shard", distributed.dp_shard);
  count("distributed.tp_size", distributed.tp_size);
  count("distributed.memory_parallel_size", distributed.memory_parallel_size);
  count("distributed.num_nodes", distributed.num_nodes);
  count("distributed.gpus_per_node", distributed.gpus_per_node);
}

void validate(const RunConfig& run) {
  validate(run.distributed);
  if (run.dump_dir.empty()) {
    fail_input("dump_dir is missing; give the run's folder, for instance dump_dir=runs/{}",
               run.name);
  }
  in_range("seed", run.seed, 0, INT64_MAX);
  in_range("steps", run.steps, 0, INT32_MAX - 1);  // the device counts updates in 32 bits
  in_range("grad_acc_steps", run.grad_acc_steps, 1, 1 << 20);
  const DataConfig& data = run.data;
  in_range("data.batch_size", data.batch_size, 1, 1 << 20);
  in_range("data.seq_len", data.seq_len, 1, max_size);
  if (data.batch_size * data.seq_len > INT32_MAX) {
    fail_input("data.batch_size={} times data.seq_len={} exceeds 2^31 tokens; lower one",
               data.batch_size, data.seq_len);
  }
  if (data.n_views != 2) {
    fail_input("data.n_views={} cannot be done by this build: next-token training has 2 views",
               data.n_views);
  }
  in_range("data.prefetch_size", data.prefetch_size, 1, 1 << 20);
  double weights = 0;
  for (const auto& [name, weight] : data.sources) {
    if (!(weight >= 0)) fail_input("data.sources.{}={} must not be negative", name, weight);
    weights += weight;
  }
  if (!data.sources.empty() && !(weights > 0 && std::isfinite(weights))) {
    fail_input("data.sources: the weights add up to {}; give at least one above 0", weights);
  }
  validate(run.optim);
  in_range("guard.max_bad_steps", run.guard.max_bad_steps, 0, INT64_C(1) << 40);
  in_range("guard.spike_window", run.guard.spike_window, 0, 1 << 16);
  positive("guard.spike_zscore", run.guard.spike_zscore);
  validate(run.model);
  validate_trained(run);
  validate_save("checkpoint.dump", run.checkpoint.dump);
  validate_save("checkpoint.eval", run.checkpoint.eval);
  in_range("checkpoint.retry_minutes", run.checkpoint.retry_minutes, 0.0, 1e6);
  in_range("checkpoint.increment_share", run.checkpoint.increment_share, 0.0, 1.0);
  in_range("logging.freq", run.logging.freq, 1, INT64_C(1) << 40);
  in_range("validation.every", run.validation.every, 0, INT64_C(1) << 40);
  in_range("validation.batches", run.validation.batches, 0, INT64_C(1) << 40);
  if (run.probe_freq) in_range("probe_freq", *run.probe_freq, 1, INT64_C(1) << 40);
  if (run.eval) validate(*run.eval, false);
}

}  // namespace memengine
