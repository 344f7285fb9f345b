// Packs and unpacks the state section of checkpoints.
#include "engine/run_state.h"

#include <sstream>
#include <vector>

#include "engine/runtime/error.h"

namespace memengine {
namespace {

std::string source_section(std::size_t index) {
  return "loader.source." + std::to_string(index);
}

}  // namespace

CheckpointState run_state(const RunConfig& config, std::int64_t step, std::int64_t total_tokens,
                          const LoaderPosition& position) {
  CheckpointState state;
  state["run"] = {{"step", step},
                  {"total_tokens", total_tokens},
                  {"version", std::string(MEMENGINE_VERSION)},
                  {"config", dump_config(config)}};
  state["loader"] = {{"seed", static_cast<std::int64_t>(position.seed)},
                     {"seq_len", position.seq_len},
                     {"sequences", position.sequences},
                     {"sources", static_cast<std::int64_t>(position.sources.size())}};
  for (std::size_t i = 0; i < position.sources.size(); ++i) {
    const LoaderPosition::Source& source = position.sources[i];
    state[source_section(i)] = {{"name", source.name},
                                {"weight", source.weight},
                                {"windows", source.windows},
                                {"drawn", source.drawn}};
  }
  return state;
}

RunState read_run_state(const Checkpoint& checkpoint) {
  RunState state;
  state.step = checkpoint.get<std::int64_t>("run", "step");
  state.total_tokens = checkpoint.get<std::int64_t>("run", "total_tokens");
  state.config = checkpoint.get<std::string>("run", "config");
  state.position.seed = static_cast<std::uint64_t>(checkpoint.get<std::int64_t>("loader", "seed"));
  state.position.seq_len = checkpoint.get<std::int64_t>("loader", "seq_len");
  state.position.sequences = checkpoint.get<std::int64_t>("loader", "sequences");
  const auto sources = checkpoint.get<std::int64_t>("loader", "sources");
  for (std::size_t i = 0; i < static_cast<std::size_t>(sources); ++i) {
    const std::string section = source_section(i);
    state.position.sources.push_back({checkpoint.get<std::string>(section, "name"),
                                      checkpoint.get<double>(section, "weight"),
                                      checkpoint.get<std::int64_t>(section, "windows"),
                                      checkpoint.get<std::int64_t>(section, "drawn")});
  }
  return state;
}

void check_resumable(const RunConfig& config, const RunState& state,
                     const std::string& checkpoint) {
  RunConfig stored = parse_run_config(state.config, checkpoint + "/state.json");
  const auto refuse = [&](const char* key) {
    fail_input(
        "{} differs from the run that {} belongs to: use the same value, or another dump_dir", key,
        checkpoint);
  };
  if (config.data.seq_len != stored.data.seq_len) refuse("data.seq_len");
  // dim, layers, heads and tables are named by the tensors' shapes too; this names the key.
  ModelConfig model = config.model;
  if (model.dim != stored.model.dim) refuse("model.dim");
  if (model.n_layers != stored.model.n_layers) refuse("model.n_layers");
  if (model.vocab_size != stored.model.vocab_size) refuse("model.vocab_size");
  if (!(model.productkey_args == stored.model.productkey_args)) refuse("model.productkey_args");
  if (!(model == stored.model)) refuse("model");
  if (config.seed != stored.seed) refuse("seed");
  if (!(config.data.tokenizer == stored.data.tokenizer)) refuse("data.tokenizer");
  if (config.data.seed != stored.data.seed) refuse("data.seed");
}

}  // namespace memengine
