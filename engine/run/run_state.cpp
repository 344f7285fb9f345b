// Packs and unpacks the state section of checkpoints.
#include "engine/run/run_state.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <string_view>
#include <vector>

#include "kernels/runtime/error.h"

namespace memengine {
namespace {

std::string source_section(std::size_t index) {
  return "loader.source." + std::to_string(index);
}

}  // namespace

CheckpointState run_state(const RunConfig& config, const RunState& run) {
  const LoaderPosition& position = run.position;
  CheckpointState state;
  state["run"] = {{"step", run.step},
                  {"total_tokens", run.total_tokens},
                  {"version", std::string(MEMENGINE_VERSION)},
                  {"tokenizer_hash", run.tokenizer_hash},
                  {"config", dump_config(config)}};
  if (config.ranks.size > 1) {
    state["run"]["ranks"] = static_cast<std::int64_t>(config.ranks.size);
  }
  state["loader"] = {{"seed", static_cast<std::int64_t>(position.seed)},
                     {"seq_len", position.seq_len},
                     {"sequences", position.sequences},
                     {"sources", static_cast<std::int64_t>(position.sources.size())}};
  for (std::size_t i = 0; i < position.sources.size(); ++i) {
    const LoaderPosition::Source& source = position.sources[i];
    state[source_section(i)] = {{"name", source.name},
                                {"weight", source.weight},
                                {"windows", source.windows},
                                {"drawn", source.drawn},
                                {"shards", source.shards}};
  }
  return state;
}

RunState read_run_state(const Checkpoint& checkpoint) {
  RunState state;
  state.step = checkpoint.get<std::int64_t>("run", "step");
  state.total_tokens = checkpoint.get<std::int64_t>("run", "total_tokens");
  state.config = checkpoint.get<std::string>("run", "config");
  if (checkpoint.section("run").contains("tokenizer_hash")) {
    state.tokenizer_hash = checkpoint.get<std::string>("run", "tokenizer_hash");
  }
  if (checkpoint.section("run").contains("ranks")) {
    state.ranks = checkpoint.get<std::int64_t>("run", "ranks");
  }
  state.position.seed = static_cast<std::uint64_t>(checkpoint.get<std::int64_t>("loader", "seed"));
  state.position.seq_len = checkpoint.get<std::int64_t>("loader", "seq_len");
  state.position.sequences = checkpoint.get<std::int64_t>("loader", "sequences");
  const auto sources = checkpoint.get<std::int64_t>("loader", "sources");
  for (std::size_t i = 0; i < static_cast<std::size_t>(sources); ++i) {
    const std::string section = source_section(i);
    state.position.sources.push_back({checkpoint.get<std::string>(section, "name"),
                                      checkpoint.get<double>(section, "weight"),
                                      checkpoint.get<std::int64_t>(section, "windows"),
                                      checkpoint.get<std::int64_t>(section, "drawn"),
                                      {}});
    if (checkpoint.section(section).contains("shards")) {
      state.position.sources.back().shards = checkpoint.get<std::string>(section, "shards");
    }
  }
  return state;
}

namespace {

// A key, or with a dot at the end all keys below it.
bool among(const std::string& key, std::initializer_list<std::string_view> list) {
  return std::any_of(list.begin(), list.end(), [&](std::string_view entry) {
    return entry.ends_with('.') ? key.starts_with(entry) : key == entry;
  });
}

// No number depends on these, or someone else looks at them: the loader at data.sources.
bool changes_freely(const std::string& key) {
  return among(key, {"name",
                     "dump_dir",
                     "device",
                     "cuda_graph",
                     "probe_freq",
                     "checkpoint.",
                     "logging.",
                     "validation.",
                     "profiling.",
                     "eval.",
                     "guard.",
                     "data.root_dir",
                     "data.sources",
                     "data.prefetch_size",
                     "data.load_async",
                     "model.seed",
                     "model.max_seqlen",
                     "model.productkey_args.zero_copy",
                     "model.productkey_args.gather_path",
                     "model.productkey_args.cache_gib",
                     "optim.annealing_step"});
}

bool changes_with_notice(const std::string& key) {
  if (key == "optim.train") return false;  // other moments
  return among(key, {"steps", "optim.", "grad_acc_steps", "data.batch_size", "distributed.",
                     "model.productkey_args.value_fixed_lr"});
}

}  // namespace

std::vector<std::string> check_resumable(const RunConfig& config, const std::string& tokenizer_hash,
                                         const RunState& state, const std::string& checkpoint) {
  const RunConfig stored = parse_run_config(state.config, checkpoint + "/state.json");
  std::map<std::string, std::string> before;
  for (auto& [key, value] : config_values(stored)) before[key] = value;
  std::vector<std::string> notices;
  std::vector<std::string> refused;
  for (const auto& [key, value] : config_values(config)) {
    const std::string& was = before[key];
    if (value == was || changes_freely(key)) continue;
    // A tokenizer is known by its content, wherever its file lies.
    if (key == "data.tokenizer.path" && tokenizer_hash == state.tokenizer_hash) continue;
    if (changes_with_notice(key)) {
      notices.push_back(fmt::format("{} is {} from here on; it was {}", key, value, was));
    } else {
      refused.push_back(fmt::format("{} is {}, was {}", key, value, was));
    }
  }
  if (config.ranks.size != state.ranks) {
    const std::int64_t tokens = stored.tokens_per_step() * state.ranks;
    notices.push_back(fmt::format(
        "the ranks are {} from here on; they were {}: {}", config.ranks.size, state.ranks,
        tokens == config.tokens_per_step()
            ? fmt::format("a step has {} tokens as before", tokens)
            : fmt::format("a step has {} tokens where it had {}; data.batch_size is of each rank",
                          config.tokens_per_step(), tokens)));
  }
  if (!state.tokenizer_hash.empty() && tokenizer_hash != state.tokenizer_hash &&
      config.data.tokenizer == stored.data.tokenizer) {
    refused.push_back("data.tokenizer is another one in the same file");
  }
  if (refused.empty()) return notices;
  if (!config.checkpoint.force_resume) {
    fail_input(
        "{} is of another run: {}: use the same, another dump_dir, or checkpoint.force_resume=true",
        checkpoint, fmt::join(refused, "; "));
  }
  for (const std::string& what : refused) notices.push_back("resumed by force: " + what);
  return notices;
}

}  // namespace memengine
