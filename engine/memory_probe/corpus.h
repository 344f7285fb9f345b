// Token shards as passes for a model that is looked into: every window once, in the shards' order,
// or windows at even distances where not all are asked for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/evaluation/corpus/corpus_shards.h"
#include "engine/memory_probe/lookup_reader.h"
#include "engine/memory_probe/probe_model.h"
#include "io/shards/loader.h"

namespace memengine {

struct CorpusOptions {
  // Each a folder of shards, a folder of such folders, or one shard; none: what the model's run was
  // trained on.
  std::vector<std::string> data;
  std::string split;  // "train", "val"; empty: `split_if_any`, else the other
  std::string split_if_any = "train";
  std::int64_t tokens = 0;  // at most so many, from all of it alike; 0: all
};

// Tokens read so far, and those that will be.
using CorpusProgress = std::function<void(std::int64_t done, std::int64_t all)>;

class Corpus {
 public:
  // Input errors: no shards, another tokenizer's shards, a model without a run where no data is
  // named.
  Corpus(ProbeModel& model, const CorpusOptions& options, CorpusProgress progress = {});

  // The rows of the next pass, each window a document that sees itself only; with targets. False at
  // the end.
  bool next(ScoreRows& rows);
  void rewind();

  std::int64_t length() const { return length_; }  // T of a window
  std::int64_t tokens() const { return sequences_ * length_; }
  const std::string& what() const { return what_; }  // "data/novels, train"

 private:
  std::string what_;
  std::int64_t length_ = 0, sequences_ = 0, read_ = 0;
  std::unique_ptr<ValidationReader> reader_;
  CorpusProgress progress_;
};

}  // namespace memengine
