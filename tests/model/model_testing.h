// Small models in double, with a batch of random tokens.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "kernels/runtime/runtime.h"
#include "model/transformer.h"

namespace memengine {

inline ModelConfig small_dense() {
  ModelConfig config;
  config.dim = 8;
  config.n_layers = 2;
  config.n_heads = 2;
  config.multiple_of = 3;
  config.vocab_size = 11;
  return config;
}

inline ModelConfig small_memory() {
  ModelConfig config = small_dense();
  ProductKeyConfig& memory = config.productkey_args;
  memory.is_enabled = true;
  memory.layers = "1";
  memory.mem_n_keys = 5;
  memory.mem_heads = 2;
  memory.mem_knn = 3;
  memory.mem_k_dim = 6;
  memory.mem_value_dtype = ValueDtype::fp32;
  return config;
}

// A model in double on the CPU, with a batch of random tokens in two micro-batches.
class TestModel {
 public:
  static constexpr std::int64_t sequences = 2;
  static constexpr std::int64_t length = 5;
  static constexpr std::int64_t micro_batches = 2;

  TestModel(const ModelConfig& config, bool training, std::uint64_t seed,
            TrainedPart trained = TrainedPart::all, std::int64_t updated_rows = 0)
      : config_(config), runtime_(Device::cpu) {
    ModelSize size;
    size.trained = trained;
    size.updated_rows = updated_rows;
    size.tokens = sequences * length;
    size.length = length;
    size.micro_batches = micro_batches;
    size.training = training;
    size.dtype = DType::f64;
    size.cache_sequences = training ? 0 : sequences;
    size.cache_length = length;
    ModelMemory planned;
    const Transformer counted(config, size, planned);
    memory_.device = Arena(Device::cpu, planned.device.planned_bytes());
    memory_.temporary = Arena(Device::cpu, planned.temporary.planned_bytes());
    memory_.host = Arena(Device::cpu, planned.host.planned_bytes());
    model_ = std::make_unique<Transformer>(config, size, memory_);
    runtime_.reserve_scratch(model_->scratch_bytes(Device::cpu));
    model_->initialize(runtime_.context(), seed);

    std::mt19937_64 random(seed);
    for (std::int64_t i = 0; i < micro_batches * sequences * length; ++i) {
      tokens_.push_back(static_cast<std::int32_t>(random() % 11));
      targets_.push_back(static_cast<std::int32_t>(random() % 11));
      const auto position = static_cast<std::int32_t>(i % length);
      positions_.push_back(position);
      std::int32_t visible = 0;
      if (config.document_mask) visible = position >= 3 ? 3 : 0;
      if (config.sliding_window) {
        visible = std::max<std::int32_t>(
            0, position - static_cast<std::int32_t>(*config.sliding_window) + 1);
      }
      visible_.push_back(visible);
    }
  }

  TokenBatch batch(std::int64_t micro) {
    const std::int64_t count = sequences * length;
    const auto view = [&](std::vector<std::int32_t>& values) {
      return Tensor(values.data() + micro * count, DType::i32, {count});
    };
    TokenBatch batch;
    batch.tokens = view(tokens_);
    batch.targets = view(targets_);
    batch.layout.positions = view(positions_);
    if (config_.document_mask || config_.sliding_window) {
      batch.layout.first_visible = view(visible_).reshape({sequences, length});
    }
    batch.sequences = sequences;
    return batch;
  }

  // Sum of the losses of all micro-batches, each weighted differently.
  double loss(bool with_gradients) {
    const Context& context = runtime_.context();
    double total = 0;
    if (with_gradients) model_->parameters().clear_gradients(context);
    for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
      const double scale = 0.5 + static_cast<double>(micro);
      model_->forward(context, batch(micro), micro, scale);
      for (std::int64_t i = 0; i < sequences * length; ++i) {
        total += scale * model_->losses().as<double>()[i];
      }
      if (with_gradients) model_->backward(context, batch(micro), micro);
    }
    for (const MemoryBank& bank : model_->banks()) {
      if (!with_gradients) continue;
      bank.merge_picks(context);
      bank.reduce_gradients(context);
    }
    return total;
  }

  Transformer& model() { return *model_; }
  const Context& context() { return runtime_.context(); }
  std::vector<std::int32_t>& tokens() { return tokens_; }

 private:
  ModelConfig config_;
  Runtime runtime_;
  ModelMemory memory_;
  std::unique_ptr<Transformer> model_;
  std::vector<std::int32_t> tokens_, targets_, positions_, visible_;
};

inline double relative_error(const std::vector<double>& actual,
                             const std::vector<double>& expected) {
  double difference = 0;
  double norm = 0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    difference += (actual[i] - expected[i]) * (actual[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}

}  // namespace memengine
