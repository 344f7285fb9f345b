// The table of named cases.
#include "engine/bench/cases.h"

#include <filesystem>

#include "engine/run/run_data.h"
#include "kernels/runtime/error.h"

namespace memengine::bench {
namespace {

constexpr std::int64_t assumed_vocabulary = 32000;  // where a config leaves it to the tokenizer

struct NamedCase {
  const char* name;
  const char* file;
  std::vector<std::string> overrides;
  bool ops_by_default = false;
};

std::string keys(const char* count) {
  return std::string("model.productkey_args.mem_n_keys=") + count;
}

const std::vector<NamedCase>& gpu_cases() {
  static const std::string host = "model.productkey_args.zero_copy=true";
  static const std::string bf16 = "distributed.model_dtype=bf16";
  // Synthetic people: small rows, many tokens, a vocabulary of 2,048.
  static const std::vector<std::string> people = {
      "model.dim=64",       "model.n_layers=4",
      "model.n_heads=4",    "model.vocab_size=2048",
      "data.batch_size=64", "model.productkey_args.mem_n_keys=512",
      "data.seq_len=512",   "model.productkey_args.mem_k_dim=32"};
  const auto people_with = [](const char* key) {
    std::vector<std::string> all = people;
    all.emplace_back(key);
    return all;
  };
  // Llamas of the sizes of GPT-2: heads of 64, and its vocabulary, padded.
  const auto gpt2_with = [](const char* dim, const char* layers, const char* heads,
                            const char* batch) {
    return std::vector<std::string>{std::string("model.dim=") + dim,
                                    std::string("model.n_layers=") + layers,
                                    std::string("model.n_heads=") + heads,
                                    std::string("data.batch_size=") + batch,
                                    "model.vocab_size=50304",
                                    "model.weight_tying=true",
                                    "data.seq_len=1024"};
  };
  static const std::vector<NamedCase> cases = {
      {"zero_copy_1m", "zero_copy.yaml", {keys("1024")}, true},
      {"zero_copy_16m", "zero_copy.yaml", {keys("4096")}},
      {"zero_copy_64m", "zero_copy.yaml", {keys("8000")}},
      {"zero_copy_1m_bf16", "zero_copy.yaml", {keys("1024"), bf16}},
      {"gpu_only_1m", "gpu_only.yaml", {keys("1024")}},
      {"gpu_only_1m_bf16", "gpu_only.yaml", {keys("1024"), bf16}},
      {"memory_373m", "memory_373m.yaml", {}, true},
      {"memory_373m_host", "memory_373m.yaml", {host}},
      {"dense_373m", "dense_373m.yaml", {}},
      {"memory_recipe", "memory_recipe.yaml", {}, true},
      {"memory_recipe_host", "memory_recipe.yaml", {host}},
      {"memory_recipe_16m_host", "memory_recipe.yaml", {keys("4096"), host}},
      {"dense_recipe", "dense_recipe.yaml", {}},
      {"gpt2_124m", "dense_373m.yaml", gpt2_with("768", "12", "12", "32")},
      {"gpt2_350m", "dense_373m.yaml", gpt2_with("1024", "24", "16", "16")},
      {"people", "memory_recipe.yaml", people_with("model.productkey_args.layers=1"), true},
      {"people_2_layers", "memory_recipe.yaml", people_with("model.productkey_args.layers=1,2")},
      {"people_dense", "memory_recipe.yaml", people_with("model.productkey_args.is_enabled=false")},
  };
  return cases;
}

// Small enough for a processor: about the demo's size.
constexpr const char* small_memory = R"(
name: small_memory
dump_dir: .
distributed: {model_dtype: fp32}
model:
  dim: 64
  n_layers: 4
  n_heads: 4
  vocab_size: 1024
  productkey_args:
    is_enabled: true
    layers: "1,3"
    mem_n_keys: 128
    mem_heads: 2
    mem_knn: 16
    mem_k_dim: 64
    mem_query_norm: batchnorm
data: {batch_size: 8, seq_len: 128, tokenizer: {name: bytes}}
)";
constexpr const char* small_dense = R"(
name: small_dense
dump_dir: .
distributed: {model_dtype: fp32}
model: {dim: 64, n_layers: 4, n_heads: 4, vocab_size: 1024}
data: {batch_size: 8, seq_len: 128, tokenizer: {name: bytes}}
)";

// The named cases' vocabulary is part of the case, whatever tokenizer lies around.
void assume_vocabulary(RunConfig& config) {
  if (config.model.vocab_size <= 0) config.model.vocab_size = assumed_vocabulary;
}

// As training does, from the tokenizer that the config names.
void settle_vocabulary(BenchCase& found) {
  if (found.config.model.vocab_size > 0) return;
  try {
    found.config.model.vocab_size = open_tokenizer(found.config.data.tokenizer)->vocab_size();
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    found.note = fmt::format("{}: a vocabulary of {} is assumed, because {}", found.name,
                             assumed_vocabulary, error.what());
    assume_vocabulary(found.config);
  }
}

}  // namespace

std::vector<std::string> step_case_names(Device device) {
  if (device == Device::cpu) return {"small_memory", "small_dense"};
  std::vector<std::string> names;
  for (const NamedCase& known : gpu_cases()) names.emplace_back(known.name);
  return names;
}

std::vector<std::string> op_case_names(Device device) {
  if (device == Device::cpu) return {"small_memory"};
  std::vector<std::string> names;
  for (const NamedCase& known : gpu_cases()) {
    if (known.ops_by_default) names.emplace_back(known.name);
  }
  return names;
}

std::vector<std::string> decode_case_names(Device device) {
  if (device == Device::cpu) return {"small_memory", "small_dense"};
  return {"dense_373m", "memory_373m", "memory_373m_host"};
}

BenchCase named_case(const std::string& name, const std::string& config_folder) {
  if (name == "small_memory") return {name, parse_run_config(small_memory, name), ""};
  if (name == "small_dense") return {name, parse_run_config(small_dense, name), ""};
  std::string list = "small_memory, small_dense";
  for (const NamedCase& known : gpu_cases()) {
    if (name == known.name) {
      BenchCase found{name,
                      load_run_config((std::filesystem::path(config_folder) / known.file).string(),
                                      known.overrides),
                      ""};
      assume_vocabulary(found.config);
      return found;
    }
    list += std::string(", ") + known.name;
  }
  fail_input("bench: there is no case '{}'; there are {}", name, list);
}

BenchCase case_of_config(const std::string& path, const std::vector<std::string>& overrides) {
  BenchCase found{std::filesystem::path(path).stem().string(), load_run_config(path, overrides),
                  ""};
  settle_vocabulary(found);
  return found;
}

}  // namespace memengine::bench
