// A model with memory layers, loaded to be looked into.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/inference/inference_model.h"
#include "engine/model_files/model_source.h"
#include "io/tokenizers/tokenizer.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

struct ProbeOptions {
  std::string model;      // as find_model() takes it
  std::string tokenizer;  // in place of the model's own; empty: its own
  std::string device = "auto";
  bool fp32 = false;       // not BF16 on a GPU
  std::int64_t rows = 0;   // of one pass; 0: many, as memory allows
  bool generates = false;  // it will also be asked to continue texts
};

class ProbeModel {
 public:
  // Input errors: no such model, no memory layers in it, no tokenizer, too little memory.
  explicit ProbeModel(const ProbeOptions& options);

  const ModelSource& source() const { return source_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  InferenceModel& model() { return *model_; }
  Runtime& runtime() { return runtime_; }
  const ModelConfig& config() const { return source_.model; }

  // The layers that hold a memory, ascending; "memory m" below is layers()[m].
  const std::vector<std::int64_t>& layers() const { return layers_; }
  std::int64_t heads() const { return config().productkey_args.mem_heads; }
  std::int64_t rows() const { return config().productkey_args.rows(); }  // of each table
  bool shares_table() const { return config().productkey_args.mem_share_values; }
  // Name in files of the table that memory m reads.
  std::string table_name(std::size_t memory) const;

  // A text's tokens as the model reads texts, with BOS in front where it was trained so.
  std::vector<std::int32_t> encode(const std::string& text) const;

 private:
  ModelSource source_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<std::int64_t> layers_;
  Runtime runtime_;
  std::unique_ptr<InferenceModel> model_;
};

// Input error unless the model has memory layers.
void check_memory(const ModelSource& source);

// The name of a table of the memory layers' m-th, in files; with PEER the one that is added up.
std::string value_table_name(const ModelConfig& config, std::size_t memory);

}  // namespace memengine
