// The four things that `memengine inspect` can look at; each prints to stdout.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/config/memory_plan.h"

namespace memengine {

struct InspectArguments {
  std::filesystem::path path;
  std::vector<std::string> overrides;  // of a config: a.b.c=value
  std::string device;                  // of a config's plan: "cpu", "cuda", or empty for all
  std::string tokenizer;               // of shards: to decode the sample; empty: looked for
  std::filesystem::path tokenizer_path;
  std::int64_t sample_tokens = 64;
  bool all_tensors = false;  // of a checkpoint: each one, and every stored value
  // Of the machine that a config's plan is for; empty: what is free here.
  std::string gpu_memory, host_memory;
  int gpus = 1;            // ranks of a config's run
  bool no_verify = false;  // do not compare the checksums of shards and checkpoints
};

// What a config's model and run amount to, and the memory it would take.
void inspect_config(const InspectArguments& arguments);
// What each of so many ranks of a run takes, and what a step sends at most.
void print_ranks(const RunConfig& config, int ranks, Device device);
// What an evaluation's config would ask, of which model, and with how much memory.
void inspect_evaluation(const InspectArguments& arguments);
// A shard, a source's folder, or a folder of sources.
void inspect_shards(const InspectArguments& arguments);
// A folder in Hugging Face's form: the same, and its model as a config has it.
bool is_given_model(const std::filesystem::path& path);
void inspect_given_model(const InspectArguments& arguments);
// One checkpoint, the newest of a folder of them, or a file of tensors.
void inspect_checkpoint(const InspectArguments& arguments);

// The memory that a plan may take: what the arguments say, and what is free here; none for a GPU of
// which neither is known.
std::optional<MemoryBudget> inspected_budget(const InspectArguments& arguments, Device device);

// Whether inspect_shards finds shards there.
bool has_shards(const std::filesystem::path& path);

}  // namespace memengine
