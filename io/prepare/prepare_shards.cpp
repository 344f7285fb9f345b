// A writer for each split, and the order that the keys give.
#include "io/prepare/prepare_shards.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "io/prepare/prepare_spill.h"
#include "io/shards/shard_writer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// Writes documents into as many shards as needed; a document is cut only where it alone is larger
// than a shard.
class SplitWriter {
 public:
  SplitWriter(fs::path folder, std::string split, const PrepareOptions& options)
      : folder_(std::move(folder)), split_(std::move(split)), limit_(options.max_shard_tokens) {
    const Tokenizer& tokenizer = *options.tokenizer;
    info_.tokenizer = tokenizer.name();
    info_.tokenizer_hash = tokenizer.hash();
    info_.vocab_size = tokenizer.vocab_size();
    info_.bos_id = options.add_bos ? tokenizer.bos_id() : -1;
    info_.eos_id = options.add_eos ? tokenizer.eos_id() : -1;
    width_ = shard_token_bytes(info_.vocab_size);
  }

  void add(std::span<const std::uint8_t> document) {
    const std::int64_t count = static_cast<std::int64_t>(document.size()) / width_;
    if (writer_ && writer_->tokens() + count > limit_) finish();
    for (bool first = true; !document.empty(); first = false) {
      if (!writer_) {
        const auto name = fmt::format("{}_{:06}.bin", split_, written.shards++);
        writer_ = std::make_unique<ShardWriter>(folder_ / name, info_);
      }
      if (first) writer_->add_document();
      const auto room = static_cast<std::size_t>((limit_ - writer_->tokens()) * width_);
      const auto part = document.first(std::min(room, document.size()));
      writer_->append_raw(part);
      document = document.subspan(part.size());
      if (writer_->tokens() == limit_) finish();
    }
    ++written.documents;
    written.tokens += count;
  }

  void finish() {
    if (writer_) writer_->finish();
    writer_.reset();
  }

  WrittenSplit written;

 private:
  fs::path folder_;
  std::string split_;
  std::int64_t limit_;
  ShardInfo info_;
  int width_ = 2;
  std::unique_ptr<ShardWriter> writer_;
};

}  // namespace

std::optional<WrittenShards> write_shards(const PrepareOptions& options, const std::string& name,
                                          const fs::path& work, const TokenizePass& train_pass,
                                          const TokenizePass* val_pass, const fs::path& folder) {
  SplitWriter train(folder, "train", options), val(folder, "val", options);
  const std::int64_t documents = train_pass.documents;
  std::int64_t to_val = 0;
  if (options.validation_fraction > 0 && documents > 1) {
    to_val = std::llround(options.validation_fraction * static_cast<double>(documents));
    to_val = std::clamp<std::int64_t>(to_val, 1, documents - 1);
  }
  const auto start = Clock::now();
  auto reported = start;
  const int width = shard_token_bytes(options.tokenizer->vocab_size());
  PrepareProgress now = {name, "shuffle", 0, 0, 0, 0, 0, 0, 0};
  now.bytes_total = (train_pass.tokens + (val_pass ? val_pass->tokens : 0)) * width;
  const auto report = [&](bool finished) {
    reported = Clock::now();
    now.finished = finished;
    now.seconds = std::chrono::duration<double>(reported - start).count();
    now.seconds_left = now.seconds * static_cast<double>(now.bytes_total - now.bytes_read) /
                       static_cast<double>(std::max<std::int64_t>(now.bytes_read, 1));
    options.progress(now);
  };
  const auto count = [&](std::span<const std::uint8_t> document) {
    if (document.size() % static_cast<std::size_t>(width) != 0) {
      fail_input("{}: is damaged; remove it and prepare again", work.string());
    }
    ++now.documents;
    now.bytes_read += static_cast<std::int64_t>(document.size());
    now.tokens = now.bytes_read / width;
    if (!options.progress || now.documents % 1024 != 0) return;
    if (std::chrono::duration<double>(Clock::now() - reported).count() < options.progress_seconds) {
      return;
    }
    report(false);
  };
  const auto drain = [&](const char* part, const TokenizePass& pass, auto&& to) {
    return drain_spill(
        work / part, 0, pass.bits, options.sort_bytes,
        [&](std::span<const std::uint8_t> document) {
          count(document);
          to(document);
        },
        options.stop);
  };
  const bool train_done = drain("train", train_pass, [&](std::span<const std::uint8_t> document) {
    (val.written.documents < to_val ? val : train).add(document);
  });
  if (!train_done) return std::nullopt;
  if (val_pass && !drain("val", *val_pass, [&](auto document) { val.add(document); }))
    return std::nullopt;
  train.finish();
  val.finish();
  if (options.progress) report(true);
  return WrittenShards{train.written, val.written};
}

}  // namespace memengine
