// Windows are those of validation: T tokens and the next one, laid one after the other into a pass.
#include "engine/memory_probe/corpus.h"

#include <algorithm>

#include "io/shards/shard.h"
#include "kernels/runtime/error.h"

namespace memengine {

namespace fs = std::filesystem;

Corpus::Corpus(ProbeModel& model, const CorpusOptions& options, CorpusProgress progress)
    : progress_(std::move(progress)) {
  const ModelSource& source = model.source();
  const CorpusShards shards =
      find_corpus({options.data, options.split, options.split_if_any, "--data",
                   source.folder.string(), source.run ? &source.run->data : nullptr});
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
  reading.most = options.tokens / length_;
  reader_ = std::make_unique<ValidationReader>(reading);
  sequences_ = reader_->sequences();
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
