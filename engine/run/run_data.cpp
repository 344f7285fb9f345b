// Finds and opens a run's data.
#include "engine/run/run_data.h"

#include <algorithm>
#include <filesystem>

#include "io/files/is_there.h"
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

// The command that would make what is missing.
std::string how_to_prepare(const DataConfig& data) {
  const std::string out = data.root_dir.value_or("data");
  const std::string name = data.sources.empty() ? "" : " --name " + data.sources.begin()->first;
  switch (data.tokenizer.name) {
    case TokenizerKind::bytes:
      return fmt::format("`memengine prepare TEXTS{} --tokenizer bytes --out {}` makes it", name,
                         out);
    case TokenizerKind::sp:
      return fmt::format(
          "`memengine prepare TEXTS{0} --tokenizer-path MODEL --out {1}` makes shards with a "
          "SentencePiece model that you have and puts a copy to {1}/tokenizer.model, "
          "--train-tokenizer 4096 makes one",
          name, out);
    case TokenizerKind::tiktoken:
      return fmt::format(
          "`memengine prepare TEXTS{0} --tokenizer tiktoken --tokenizer-path RANKS --out {1}` "
          "makes "
          "shards and puts a copy to {1}/tokenizer.model",
          name, out);
    case TokenizerKind::hf:
      return fmt::format(
          "`memengine prepare TEXTS{0} --tokenizer hf --tokenizer-path TOKENIZER.JSON --out {1}` "
          "makes shards and puts a copy to {1}/tokenizer.json",
          name, out);
  }
  return "";
}

// data.sources below data.root_dir; without a list, the folder itself or all its prepared folders.
std::vector<LoaderSource> find_sources(const DataConfig& data) {
  if (!data.root_dir) {
    fail_input("data.root_dir is not set: name the folder of the shards; {}", how_to_prepare(data));
  }
  fs::path root = *data.root_dir;
  if (!root.has_filename()) root = root.parent_path();  // "data/" is the same source as "data"
  if (!fs::is_directory(root)) {
    fail_input("data.root_dir: no folder '{}': {}", root.string(), how_to_prepare(data));
  }
  std::vector<LoaderSource> sources;
  for (const auto& [name, weight] : data.sources) {
    if (!is_there(root / name)) {
      fail_input("data.sources: no folder '{}' below data.root_dir '{}': {}", name, root.string(),
                 how_to_prepare(data));
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
    fail_input("data.root_dir: no token shards (*.bin) in '{}' or its folders: {}", root.string(),
               how_to_prepare(data));
  }
  std::sort(sources.begin(), sources.end(),
            [](const LoaderSource& a, const LoaderSource& b) { return a.name < b.name; });
  return sources;
}

// llm.c puts these before each document of its sets, which have no sidecar.
constexpr std::int32_t gpt2_document_start = 50256;     // <|endoftext|>, in uint16 shards
constexpr std::int32_t llama3_document_start = 128000;  // <|begin_of_text|>, in uint32 shards

std::int32_t shard_document_start(const Shard& shard, const Tokenizer& tokenizer,
                                  std::int64_t vocab_size) {
  const std::string where = "model.document_mask: " + shard.path().string();
  if (shard.info()) {
    if (shard.info()->bos_id >= 0) return shard.info()->bos_id;
    fail_input(
        "{}: its documents do not start with a token that marks them (no BOS): prepare them with "
        "one, or set model.document_mask=false",
        where);
  }
  // Vocabularies are filled up to a multiple of 128 at most; a larger one is another tokenizer's.
  const bool stands_in = tokenizer.name() == "bytes" && vocab_size > 384;
  std::int32_t start = tokenizer.bos_id();
  if (stands_in) start = shard.token_bytes() == 2 ? gpt2_document_start : llama3_document_start;
  if (start >= 0 && start < vocab_size) return start;
  fail_input(
      "{}: it has no sidecar that says which token starts a document: name its tokenizer "
      "(data.tokenizer), or set model.document_mask=false",
      where);
}

}  // namespace

const char* tokenizer_name(TokenizerKind kind) {
  switch (kind) {
    case TokenizerKind::bytes:
      return "bytes";
    case TokenizerKind::sp:
      return "sp";
    case TokenizerKind::tiktoken:
      return "tiktoken";
    case TokenizerKind::hf:
      return "hf";
  }
  return "?";
}

std::unique_ptr<Tokenizer> open_tokenizer(const TokenizerConfig& config) {
  if (config.name != TokenizerKind::bytes && !config.path) {
    fail_input("data.tokenizer.path is missing; give the tokenizer's file");
  }
  return load_tokenizer(tokenizer_name(config.name), config.path.value_or(""));
}

RunData RunData::open(RunConfig& config) {
  RunData data;
  const TokenizerConfig& tokenizer = config.data.tokenizer;
  std::error_code error;
  if (tokenizer.name != TokenizerKind::bytes && tokenizer.path &&
      !fs::exists(*tokenizer.path, error)) {
    fail_input("data.tokenizer.path: no file '{}': {}", *tokenizer.path,
               how_to_prepare(config.data));
  }
  data.tokenizer = open_tokenizer(tokenizer);
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

std::int32_t RunData::document_start(const RunConfig& config) const {
  if (!config.model.document_mask) return tokenizer->bos_id();
  std::int32_t start = -1;
  fs::path first;
  for (const LoaderSource& source : sources) {
    for (const char* split : {"train", "val"}) {
      if (!has_split(source.path, split)) continue;
      for (const fs::path& path : find_shards(source.path, split)) {
        const std::int32_t here =
            shard_document_start(Shard(path), *tokenizer, config.model.vocab_size);
        if (!first.empty() && here != start) {
          fail_input(
              "model.document_mask: documents start with token {} in {}, with {} in {}: prepare "
              "all sources with one tokenizer",
              start, first.string(), here, path.string());
        }
        start = here;
        first = path;
      }
    }
  }
  return start;
}

std::unique_ptr<TokenLoader> RunData::training_loader(const RunConfig& config,
                                                      const HostAllocator& allocator,
                                                      const LoaderPosition* from) const {
  LoaderOptions options;
  options.sources = sources;
  options.batch_size = config.data.batch_size;
  options.seq_len = config.data.seq_len;
  options.seed = static_cast<std::uint64_t>(config.data.seed);
  options.rank = config.ranks.rank;
  options.world = config.ranks.size;
  options.async = config.data.load_async;
  options.prefetch = static_cast<int>(std::clamp<std::int64_t>(config.data.prefetch_size, 1, 64));
  options.keep = static_cast<int>(3 * config.grad_acc_steps);
  options.vocab_size = config.model.vocab_size;
  options.document_start = document_start(config);
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
  options.rank = config.ranks.rank;
  options.world = config.ranks.size;
  options.vocab_size = config.model.vocab_size;
  options.document_start = document_start(config);
  options.tokenizer_hash = tokenizer->hash();
  return std::make_unique<ValidationReader>(options);
}

}  // namespace memengine
