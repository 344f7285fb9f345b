// Small models for the tests of scoring and generation.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "engine/inference/generator.h"
#include "engine/inference/inference_model.h"
#include "io/tokenizers/tokenizer.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

// Byte tokenizer's vocabulary, two layers, grouped-query attention; `memory` none, plain, shared,
// batchnorm or peer.
inline ModelConfig tiny_model(const std::string& memory = "none") {
  ModelConfig config;
  config.dim = 32;
  config.n_layers = 3;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.multiple_of = 16;
  config.max_seqlen = 256;
  config.vocab_size = 258;
  if (memory == "none") return config;
  ProductKeyConfig& args = config.productkey_args;
  args.is_enabled = true;
  args.layers = "0,2";
  args.mem_n_keys = 19;
  args.mem_heads = 2;
  args.mem_knn = 5;
  args.mem_k_dim = 16;
  args.mem_share_values = memory != "plain";
  args.mem_query_norm = memory == "batchnorm" ? QueryNorm::batchnorm : QueryNorm::none;
  args.peer_variant = memory == "peer";
  return config;
}

// A model with random weights and its runtime.
struct ServedModel {
  Runtime runtime{Device::cpu};
  InferenceModel model;

  ServedModel(const ModelConfig& config, const InferenceSize& size) : model(config, size, runtime) {
    model.initialize(7);
  }
};

inline InferenceSize inference_rows(std::int64_t tokens, std::int64_t sequences = 0,
                                    std::int64_t length = 256) {
  InferenceSize size;
  size.tokens = tokens;
  size.cache_sequences = sequences;
  size.cache_length = sequences > 0 ? length : 0;
  return size;
}

inline std::vector<std::int32_t> random_tokens(std::mt19937& random, std::size_t count,
                                               std::int32_t vocabulary) {
  std::uniform_int_distribution<std::int32_t> token(0, vocabulary - 1);
  std::vector<std::int32_t> tokens(count);
  for (std::int32_t& id : tokens) id = token(random);
  return tokens;
}

// The logits after each token of a text, on the CPU.
inline std::vector<float> logits_of(const ModelSource& source,
                                    const std::vector<std::int32_t>& tokens, bool fp64 = false) {
  Runtime runtime(Device::cpu);
  InferenceSize size = inference_rows(64, 1, 64);
  size.fp64 = fp64;
  InferenceModel model(source.model, size, runtime);
  model.load(source);
  std::vector<float> logits, all;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    model.decode({{tokens[i]}, {0}, {static_cast<std::int32_t>(i)}, {0}}, logits);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

// Never ends a text, so that lengths are known.
class EndlessTokenizer : public Tokenizer {
 public:
  explicit EndlessTokenizer(std::int32_t vocabulary)
      : Tokenizer("bytes", ""), vocabulary_(vocabulary) {}
  void encode_append(std::string_view text, std::vector<std::int32_t>& ids) const override {
    ids.insert(ids.end(), text.begin(), text.end());
  }
  std::string decode(std::span<const std::int32_t> ids) const override {
    std::string text;
    for (const std::int32_t id : ids) text += token_bytes(id);
    return text;
  }
  std::string token_bytes(std::int32_t id) const override {
    return std::string(1, static_cast<char>('a' + id % 26));
  }
  std::int32_t vocab_size() const override { return vocabulary_; }
  std::int32_t bos_id() const override { return 1; }
  std::int32_t eos_id() const override { return -1; }

 private:
  std::int32_t vocabulary_;
};

}  // namespace memengine
