// Recognises a model's folder by the files in it.
#include "engine/model_files/model_source.h"

#include <algorithm>

#include "engine/model_files/hugging_face.h"
#include "engine/run/run_data.h"
#include "engine/run/run_state.h"
#include "io/checkpoints/checkpoint.h"
#include "io/files/file.h"
#include "io/files/is_there.h"
#include "io/files/lfs_pointer.h"
#include "io/tokenizers/hugging_face/tokenizer_json.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

ModelSource from_run(const std::string& yaml, const fs::path& folder, const char* file) {
  ModelSource source;
  source.folder = folder;
  source.run = parse_run_config(yaml, (folder / file).string());
  source.model = source.run->model;
  source.tokenizer = source.run->data.tokenizer;
  source.add_bos = source.run->data.add_bos;
  if (source.model.vocab_size < 1) {
    fail_input("{}: model.vocab_size is not set", (folder / file).string());
  }
  return source;
}

ModelSource from_checkpoint(const fs::path& folder) {
  const Checkpoint checkpoint(folder);
  ModelSource source = from_run(checkpoint.get<std::string>("run", "config"), folder, "state.json");
  source.kind = ModelSource::Kind::checkpoint;
  source.step = checkpoint.step();
  return source;
}

// The newest checkpoint in a folder of checkpoints, or in the `checkpoints` of a run.
fs::path newest_in(const fs::path& path) {
  for (const fs::path& root : {path, path / "checkpoints"}) {
    const std::vector<std::int64_t> steps = checkpoint_steps(root);
    if (!steps.empty()) return root / checkpoint_name(steps.back());
  }
  fail_input(
      "{}: no model there: name a checkpoint, a run's folder, an exported model or a Hugging Face "
      "folder (config.json and .safetensors)",
      path.string());
}

}  // namespace

TokenizerConfig tokenizer_of_file(const std::string& path) {
  if (path == "bytes") return {TokenizerKind::bytes, std::nullopt};
  const InputFile file(path);
  std::string first(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 64)), '\0');
  file.read(0, std::as_writable_bytes(std::span(first)));
  refuse_lfs_pointer(path, first);
  if (fs::path(path).filename() == tokenizer_json_name) return {TokenizerKind::hf, path};
  const std::size_t begin = std::min(first.find_first_not_of(" \t\r\n"), first.size());
  if (first.substr(begin).starts_with('{')) return {TokenizerKind::hf, path};
  return {first.starts_with('\n') ? TokenizerKind::sp : TokenizerKind::tiktoken, path};
}

ModelSource find_model(const fs::path& path, const std::string& tokenizer) {
  std::error_code ignored;
  if (!fs::is_directory(path, ignored)) fail_input("{}: no such folder", path.string());
  ModelSource source;
  if (is_there(path / "state.json")) {
    source = from_checkpoint(path);
  } else if (is_there(path / "config.json")) {
    source = find_hugging_face(path);
  } else if (is_there(path / "config.yaml") && is_there(path / "model.safetensors")) {
    source = from_run(read_text_file(path / "config.yaml", 1 << 20), path, "config.yaml");
    source.kind = ModelSource::Kind::exported;
    // An exported model carries its tokenizer with it.
    const fs::path carried = path / tokenizer_file_name(tokenizer_name(source.tokenizer->name));
    if (is_there(carried)) source.tokenizer->path = carried.string();
  } else {
    source = from_checkpoint(newest_in(path));
  }
  if (!tokenizer.empty()) {
    source.tokenizer = tokenizer_of_file(tokenizer);
    if (source.tokenizer->name == TokenizerKind::hf &&
        source.kind == ModelSource::Kind::hugging_face) {
      source.add_bos = tokenizer_json_adds_bos(tokenizer);
    }
    source.tokenizer_is_replaced = true;
  }
  return source;
}

std::vector<std::int32_t> end_tokens(const ModelSource& source, const Tokenizer& tokenizer) {
  if (!source.end_tokens.empty()) return source.end_tokens;
  if (tokenizer.eos_id() < 0) return {};
  return {tokenizer.eos_id()};
}

std::unique_ptr<Tokenizer> open_tokenizer(const ModelSource& source) {
  if (!source.tokenizer) {
    fail_input(
        "{}: no tokenizer.json or tokenizer.model there: give the tokenizer's file (--tokenizer or "
        "tokenizer=)",
        source.folder.string());
  }
  const std::optional<std::string>& file = source.tokenizer->path;
  const bool needs_file = source.tokenizer->name != TokenizerKind::bytes;
  if (needs_file && file && !is_there(*file) && !source.tokenizer_is_replaced) {
    fail_input(
        "{}: its tokenizer {} is not there: run from the folder where it was trained, or give the "
        "tokenizer's file (--tokenizer or tokenizer=)",
        source.folder.string(), *file);
  }
  std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(*source.tokenizer);
  const std::int64_t filled_up = (tokenizer->vocab_size() + 127) / 128 * 128;
  if (tokenizer->vocab_size() > source.model.vocab_size ||
      (source.tokenizer_is_replaced && source.model.vocab_size > filled_up)) {
    fail_input("{}: the model has {} tokens, its tokenizer {} has {}: give the right tokenizer",
               source.folder.string(), source.model.vocab_size,
               source.tokenizer->path.value_or("bytes"), tokenizer->vocab_size());
  }
  return tokenizer;
}

}  // namespace memengine
