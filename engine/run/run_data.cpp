// Finds and opens a run's data.
#include "engine/run/run_data.h"

#include <algorithm>
#include <filesystem>

#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

bool has_any_shard(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == ".bin") return true;
  }
  return false;
}

// data.sources below data.root_dir; without a list, the folder itself or all its prepared folders.
std::vector<LoaderSource> find_sources(const DataConfig& data) {
  if (!data.root_dir) {
    fail_input(
        "data.root_dir is not set: make shards with `memengine prepare` and name their folder");
  }
  fs::path root = *data.root_dir;
  if (!root.has_filename()) root = root.parent_path();  // "data/" is the same source as "data"
  if (!fs::is_directory(root)) {
    fail_input("data.root_dir: no folder '{}': make shards with `memengine prepare --out {}`",
               root.string(), root.string());
  }
  std::vector<LoaderSource> sources;
  for (const auto& [name, weight] : data.sources) {
    if (!fs::exists(root / name)) {
      fail_input("data.sources: no folder '{}' below data.root_dir '{}'", name, root.string());
    }
    sources.push_back({name, root / name, weight});
  }
  if (!sources.empty()) return sources;
  if (has_any_shard(root)) return {{root.filename().string(), root, 1.0}};
  for (const auto& entry : fs::directory_iterator(root)) {
    if (entry.is_directory() && has_any_shard(entry.path())) {
      sources.push_back({entry.path().filename().string(), entry.path(), 1.0});
    }
  }
  if (sources.empty()) {
    fail_input(
        "data.root_dir: no token shards (*.bin) in '{}' or its folders: make them with "
        "`memengine prepare`",
        root.string());
  }
  std::sort(sources.begin(), sources.end(),
            [](const LoaderSource& a, const LoaderSource& b) { return a.name < b.name; });
  return sources;
}

const char* tokenizer_name(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::bytes:
      return "bytes";
    case TokenizerKind::sp:
      return "sp";
    case TokenizerKind::tiktoken:
      return "tiktoken";
  }
  return "?";
}

}  // namespace

std::unique_ptr<Tokenizer> open_tokenizer(const TokenizerConfig& config) {
  return load_tokenizer(tokenizer_name(config.name), config.path.value_or(""));
}

RunData RunData::open(RunConfig& config) {
  RunData data;
  data.tokenizer = open_tokenizer(config.data.tokenizer);
  data.sources = find_sources(config.data);
  const std::int64_t vocabulary = data.tokenizer->vocab_size();
  if (config.model.vocab_size < 0) config.model.vocab_size = vocabulary;
  if (config.model.vocab_size < vocabulary) {
    fail_input(
        "model.vocab_size is {}, but the tokenizer has {} tokens: set it to -1 or at least {}",
        config.model.vocab_size, vocabulary, vocabulary);
  }
  return data;
}

std::unique_ptr<TokenLoader> RunData::training_loader(const RunConfig& config,
                                                      const HostAllocator& allocator,
                                                      const LoaderPosition* from) const {
  LoaderOptions options;
  options.sources = sources;
  options.batch_size = config.data.batch_size;
  options.seq_len = config.data.seq_len;
  options.seed = static_cast<std::uint64_t>(config.data.seed);
  options.async = config.data.load_async;
  options.prefetch = static_cast<int>(std::clamp<std::int64_t>(config.data.prefetch_size, 1, 64));
  options.keep = static_cast<int>(3 * config.grad_acc_steps);
  options.vocab_size = config.model.vocab_size;
  options.document_start = tokenizer->bos_id();
  options.tokenizer_hash = tokenizer->hash();
  options.accept_other_shards = config.checkpoint.force_resume;
  options.allocator = allocator;
  return std::make_unique<TokenLoader>(options, from);
}

std::unique_ptr<ValidationReader> RunData::validation_reader(const RunConfig& config) const {
  ValidationReader::Options options;
  for (const LoaderSource& source : sources) {
    if (has_split(source.path, "val")) options.paths.push_back(source.path);
  }
  if (options.paths.empty()) return nullptr;
  options.batch_size = config.data.batch_size;
  options.seq_len = config.data.seq_len;
  options.vocab_size = config.model.vocab_size;
  options.document_start = tokenizer->bos_id();
  options.tokenizer_hash = tokenizer->hash();
  return std::make_unique<ValidationReader>(options);
}

}  // namespace memengine
