#include "engine/config/config_notices.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "engine/config/rank_keys.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// Keys of the reference that are read and change nothing, when they ask for something.
void note_idle_keys(const ConfigReader& reader, const RunConfig& run,
                    std::vector<std::string>& notices) {
  const auto note = [&](const char* key, bool asks, const char* why) {
    if (asks && reader.has(key)) {
      notices.push_back(fmt::format("{}: {} has no effect here: {}", reader.where(key), key, why));
    }
  };
  const RunConfig defaults;
  note("model.seed", run.model.seed != defaults.model.seed, "weights follow the run's seed");
  note("logging.acc_freq", run.logging.acc_freq.has_value(), "logging.freq is what is reported by");
  note("profiling.run", run.profile, "profile the program with the tools of your device");
  note("checkpoint.eval.keep", run.checkpoint.eval.keep != defaults.checkpoint.eval.keep,
       "checkpoint.dump.keep counts all checkpoints");
  note("optim.annealing_step", run.optim.annealing_step != defaults.optim.annealing_step,
       "no schedule of the reference reads it");
}

// How many GPUs share the reference's work; the last two are its launcher's.
using Count = std::optional<std::int64_t> DistributedConfig::*;
constexpr std::pair<const char*, Count> spread_keys[] = {
    {"dp_replicate", &DistributedConfig::dp_replicate},
    {"dp_shard", &DistributedConfig::dp_shard},
    {"tp_size", &DistributedConfig::tp_size},
    {"memory_parallel_size", &DistributedConfig::memory_parallel_size},
    {"num_nodes", &DistributedConfig::num_nodes},
    {"gpus_per_node", &DistributedConfig::gpus_per_node}};

void note_halves(const ConfigReader& reader, const std::string& key,
                 std::vector<std::string>& notices) {
  const std::string text = reader.text(key);
  if (text != "fp16" && text != "float16") return;
  notices.push_back(fmt::format("{}: {}={} is done in BF16", reader.where(key), key, text));
}

// How the reference would share the work, and what gives the same batch here.
void note_spread(const ConfigReader& reader, const RunConfig& run,
                 std::vector<std::string>& notices) {
  std::string asked, where;
  for (const auto& [name, field] : spread_keys) {
    const auto& value = run.distributed.*field;
    if (value.value_or(1) == 1) continue;
    const std::string key = std::string("distributed.") + name;
    if (where.empty()) where = reader.where(key);
    asked += fmt::format("{}{}={}", asked.empty() ? "" : ", ", key, *value);
  }
  if (asked.empty()) return;
  if (run.ranks.size > 1) {
    notices.push_back(where + ": " + meaning_for_ranks(run, asked));
    return;
  }
  const std::int64_t ranks = run.distributed.data_parallel();
  const std::int64_t sequences = run.grad_acc_steps * run.data.batch_size;
  std::string text = fmt::format("{}: {}: one process trains here, with ", where, asked);
  if (ranks == 1) {
    text += "the batch that the reference's GPUs would share";
  } else {
    text += fmt::format(
        "{} sequences ({} tokens) a step where the reference's {} data-parallel GPUs would take {} "
        "({} tokens); grad_acc_steps={} makes it the same",
        sequences, run.tokens_per_step(), ranks, ranks * sequences, ranks * run.tokens_per_step(),
        ranks * run.grad_acc_steps);
  }
  notices.push_back(text);
}

void note_renamed_keys(const ConfigReader& reader, std::vector<std::string>& notices) {
  const std::string key = "model.productkey_args.staging_gib";
  if (!reader.has(key)) return;
  notices.push_back(
      fmt::format("{}: {} is read as cache_gib, its name now", reader.where(key), key));
}

}  // namespace

std::vector<std::string> run_notices(const ConfigReader& reader, const RunConfig& run) {
  std::vector<std::string> notices = reader.notices();
  note_idle_keys(reader, run, notices);
  note_spread(reader, run, notices);
  note_renamed_keys(reader, notices);
  note_halves(reader, "distributed.model_dtype", notices);
  note_halves(reader, "eval.generator.dtype", notices);
  return notices;
}

std::vector<std::string> eval_notices(const ConfigReader& reader) {
  std::vector<std::string> notices = reader.notices();
  note_halves(reader, "generator.dtype", notices);
  return notices;
}

std::int64_t DistributedConfig::data_parallel() const {
  const std::int64_t replicas =
      std::max(dp_replicate.value_or(1), memory_parallel_size.value_or(1));
  const std::int64_t launched = num_nodes.value_or(1) * gpus_per_node.value_or(1);
  return std::max(replicas * dp_shard.value_or(1), launched / tp_size.value_or(1));
}

}  // namespace memengine
