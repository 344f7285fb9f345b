// Windows are those of validation: T tokens and the next one, laid one after the other into a pass.
#include "engine/memory_probe/corpus.h"

#include <algorithm>
#include <limits>

#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

// Folders that hold shards: the path itself, or those in it.
std::vector<fs::path> shard_folders(const fs::path& path) {
  std::error_code ignored;
  std::vector<fs::path> folders;
  const auto holds_shards = [&](const fs::path& folder) {
    return has_split(folder, "train") || has_split(folder, "val");
  };
  if (holds_shards(path)) return {path};
  for (const auto& entry : fs::directory_iterator(path, ignored)) {
    if (entry.is_directory(ignored) && holds_shards(entry.path())) folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::vector<fs::path> folders_of(const ModelSource& source, const std::string& data) {
  std::error_code ignored;
  if (!data.empty()) {
    if (!fs::exists(data, ignored)) fail_input("--data: nothing at '{}'", data);
    return shard_folders(data);
  }
  if (!source.run || !source.run->data.root_dir) {
    fail_input("{}: the model does not say what it was trained on: name shards with --data",
               source.folder.string());
  }
  const fs::path root = *source.run->data.root_dir;
  if (!fs::is_directory(root, ignored)) {
    fail_input(
        "{}: its data '{}' is not there: run from the folder where it was trained, or name "
        "shards with --data",
        source.folder.string(), root.string());
  }
  std::vector<fs::path> folders;
  for (const auto& [name, weight] : source.run->data.sources) folders.push_back(root / name);
  return folders.empty() ? shard_folders(root) : folders;
}

}  // namespace

CorpusShards find_corpus(const ModelSource& source, const CorpusOptions& options) {
  std::error_code ignored;
  if (!options.data.empty() && fs::is_regular_file(options.data, ignored)) {
    return {{options.data}, options.data};
  }
  const std::vector<fs::path> folders = folders_of(source, options.data);
  if (folders.empty()) {
    fail_input(
        "--data: no token shards (*.bin) in '{}' or its folders: `memengine prepare` makes "
        "them",
        options.data.empty() ? *source.run->data.root_dir : options.data);
  }
  const auto any_has = [&](const std::string& split) {
    return std::any_of(folders.begin(), folders.end(),
                       [&](const fs::path& folder) { return has_split(folder, split); });
  };
  std::string split = options.split;
  if (split.empty()) {
    split = any_has(options.split_if_any)     ? options.split_if_any
            : options.split_if_any == "train" ? "val"
                                              : "train";
  }
  CorpusShards shards;
  std::vector<std::string> names;
  for (const fs::path& folder : folders) {
    if (!has_split(folder, split)) continue;
    const auto found = find_shards(folder, split);
    shards.files.insert(shards.files.end(), found.begin(), found.end());
    names.push_back(folder.string());
  }
  if (shards.files.empty()) {
    fail_input("no {} shards in '{}': name others with --data or --split", split,
               folders.front().string());
  }
  shards.what = fmt::format("{} ({})", fmt::join(names, ", "), split);
  return shards;
}

Corpus::Corpus(ProbeModel& model, const CorpusOptions& options, CorpusProgress progress)
    : progress_(std::move(progress)) {
  const CorpusShards shards = find_corpus(model.source(), options);
  what_ = shards.what;
  std::int64_t longest = 0;
  for (const fs::path& file : shards.files) longest = std::max(longest, Shard(file).tokens() - 1);
  length_ = std::min({model.config().max_seqlen, model.model().size().tokens, longest});
  if (options.tokens > 0) length_ = std::min(length_, options.tokens);
  if (length_ < 1) fail_input("{}: no two consecutive tokens to read", what_);
  ValidationReader::Options reading;
  reading.paths = shards.files;
  reading.seq_len = length_;
  reading.batch_size = std::max<std::int64_t>(model.model().size().tokens / length_, 1);
  reading.vocab_size = model.config().vocab_size;
  reading.document_start = model.config().document_mask ? model.tokenizer().bos_id() : -1;
  reading.tokenizer_hash = model.tokenizer().hash();
  reader_ = std::make_unique<ValidationReader>(reading);
  sequences_ = reader_->sequences();
  if (options.tokens > 0) {
    sequences_ = std::min(sequences_, options.tokens / length_);
  }
}

bool Corpus::next(ScoreRows& rows) {
  rows.clear();
  Batch batch;
  if (read_ == sequences_ || !reader_->next(batch)) return false;
  const std::int64_t sequences = std::min(batch.batch_size, sequences_ - read_);
  const std::int64_t count = sequences * length_;
  rows.tokens.assign(batch.tokens, batch.tokens + count);
  rows.targets.assign(batch.targets, batch.targets + count);
  rows.positions.resize(static_cast<std::size_t>(count));
  rows.document_start.resize(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t start = i / length_ * length_;
    rows.positions[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(i - start);
    rows.document_start[static_cast<std::size_t>(i)] =
        static_cast<std::int32_t>(start + batch.doc_start[i]);
  }
  read_ += sequences;
  if (progress_) progress_(read_ * length_, tokens());
  return true;
}

void Corpus::rewind() {
  reader_->rewind();
  read_ = 0;
}

}  // namespace memengine
