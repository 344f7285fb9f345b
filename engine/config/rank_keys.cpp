#include "engine/config/rank_keys.h"

#include "kernels/runtime/error.h"

namespace memengine {

void check_rank_keys(const RunConfig& run) {
  const std::int64_t ranks = run.ranks.size;
  if (ranks == 1) return;
  const DistributedConfig& keys = run.distributed;
  const std::int64_t shards = keys.dp_shard.value_or(1);
  const auto divides = [ranks](const char* key, std::int64_t value) {
    if (ranks % value == 0) return;
    fail_input(
        "{}={} does not divide the {} ranks of this run: set it to 1 or {}, or start a multiple of "
        "{} ranks",
        key, value, ranks, ranks, value);
  };
  if (keys.tp_size.value_or(1) > 1) {
    fail_input(
        "distributed.tp_size={} cannot be done by this build: ranks share the batch and the value "
        "tables, not single layers; set it to 1",
        *keys.tp_size);
  }
  divides("distributed.dp_shard", shards);
  divides("distributed.memory_parallel_size", keys.memory_parallel_size.value_or(1));
  const std::int64_t replicas = keys.dp_replicate.value_or(1);
  if (replicas > 1 && replicas * shards != ranks) {
    fail_input(
        "distributed.dp_replicate={} with dp_shard={} is for {} ranks, and this run has {}: leave "
        "it out, or set it to {}",
        replicas, shards, replicas * shards, ranks, ranks / shards);
  }
}

std::string meaning_for_ranks(const RunConfig& run, std::string_view asked) {
  const int ranks = run.ranks.size;
  std::string text =
      fmt::format("{}: {} ranks train here, each on a batch of its own and with all dense weights",
                  asked, ranks);
  if (run.model.productkey_args.is_enabled) {
    text += fmt::format("; the rows of the value tables are spread over all {}", ranks);
  }
  return text + fmt::format(", and a step has {} tokens", run.tokens_per_step());
}

}  // namespace memengine
