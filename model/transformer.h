// The model: token embedding, L blocks, final norm, head.
//
//     h   = x + attention(norm(x))
//     out = h + feed_forward_or_memory(norm(h))
//
// Everything a step needs is allocated when the model is built, from three arenas (ModelMemory), so
// that building it on planning arenas answers "will it fit?" before anything is allocated.
// Of each block the two residual states, their norms and what attention and feed-forward keep
// survive until the backward pass.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/runtime/memory/arena.h"
#include "model/attention.h"
#include "model/feed_forward.h"
#include "model/head.h"
#include "model/memory/memory_bank.h"
#include "model/memory/memory_beside.h"
#include "model/memory/memory_layer.h"
#include "model/model_config.h"
#include "model/parameter.h"

namespace memengine {

// Arenas of a model. `temporary` is shared by all layers in turn; `host` holds value tables that
// the GPU maps (or, on the CPU, ordinary memory).
struct ModelMemory {
  Arena device, temporary, host;
};

struct ModelSize {
  std::int64_t tokens = 0;         // N: most rows of one forward pass
  std::int64_t length = 0;         // T: longest sequence of forward()
  std::int64_t micro_batches = 1;  // forward and backward passes per update
  bool training = true;
  TrainedPart trained = TrainedPart::all;
  std::int64_t updated_rows = 0;   // most rows of a bank that a step updates; 0: all it picks
  RankPlace place;                 // value tables are spread over so many ranks, each of this size
  bool shares_memory = false;      // and the ranks read one another's device memory
  DType dtype = DType::f32;        // of activations
  std::int64_t staging_bytes = 0;  // device memory for rows of host tables, see staged_rows.h
  // Decoding; 0 sequences: no caches.
  std::int64_t cache_sequences = 0;
  std::int64_t cache_length = 0;
};

// One batch on the device. B is the number of sequences, all of the same length T = N / B.
struct TokenBatch {
  Tensor tokens;   // [N] i32
  Tensor targets;  // [N] i32; -1: no target
  TokenLayout layout;
  std::int64_t sequences = 1;
};

// Called while a pass is being enqueued, where work on another stream may start. Any may be empty.
struct PassHooks {
  // In forward(): the last reader of this bank has picked its rows.
  std::function<void(const MemoryBank&)> picked;
  // In backward(): no memory layer is left; all that row gradients are made of is in the banks.
  std::function<void()> rows_done;
  // In backward(): of the flat block of gradients, what is zeroed first is whole from element
  // `zeroed` on, and the rest from element `products` on; later calls come with lower ones. What
  // lies before the last is whole when backward() returns.
  std::function<void(const GradientPlaces& whole_from)> gradients_whole;
  // In forward(), each as soon as it is there: every residual state [N, C], named after what wrote
  // it as in residual_states(); every layer's output [N, C], such as "layers.0.attention.out";
  // every lookup, such as "layers.4.feed_forward".
  std::function<void(const std::string& name, const Tensor& x)> computed;
  std::function<void(const std::string& name, const MemoryLookup& lookup)> looked_up;
};

class Transformer {
 public:
  // Builds the model with its activations. With zero_copy the tables are in `memory.host`. Input
  // error where a step would pick 2^31 rows or more.
  Transformer(const ModelConfig& config, const ModelSize& size, ModelMemory& memory);
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  void initialize(const Context& context, std::uint64_t seed);

  // Training: losses() [N] of the batch's targets. `gradient_scale` multiplies the sum of losses
  // before it is differentiated (1 / all targets of the update for a mean).
  void forward(const Context& context, const TokenBatch& batch, std::int64_t micro_batch,
               double gradient_scale, const PassHooks& hooks = {});
  // The gradients of all trained parameters += those of the forward() before; row gradients wait in
  // the banks (memory_bank.h says what to do with them after the last micro-batch). It stops at the
  // lowest layer that is trained.
  void backward(const Context& context, const TokenBatch& batch, std::int64_t micro_batch,
                const PassHooks& hooks = {});

  // Evaluation: log-probability of every target and arg max of every row, in [N] tensors. With
  // `wanted` [R] i32 only the rows listed there go through the head, and batch.targets and both
  // results are [R], in that order.
  void score(const Context& context, const TokenBatch& batch, Tensor log_probabilities, Tensor best,
             Tensor wanted = {});

  // Evaluation's lookups alone: the blocks up to the last memory layer, no head. hooks.computed and
  // hooks.looked_up see what they pass.
  void look_up(const Context& context, const TokenBatch& batch, const PassHooks& hooks);

  // From now on evaluation and decoding do without a part of a memory layer, by its number; {}: all
  // of it works. Input error where the layer holds no memory.
  void silence(std::int64_t layer, const Silence& silence);

  // Decoding: rows tokens [S] continue cached sequences; logits [rows of `wanted`, vocabulary] of
  // the rows listed in wanted [R] i32.
  void decode(const Context& context, Tensor logits, Tensor tokens, const CacheLayout& layout,
              Tensor wanted);

  Tensor losses() const { return losses_; }
  // The residual states [N, C] that the last forward() left, in the order of the data's way, each
  // named after what wrote it; without those below the lowest layer that is trained, which are
  // gone.
  std::vector<NamedTensor> residual_states() const;
  // The memory layers, ascending.
  std::vector<const MemoryLayer*> memories() const;
  ParameterStore& parameters() { return parameters_; }
  const ParameterStore& parameters() const { return parameters_; }
  std::vector<MemoryBank>& banks() { return banks_; }
  const std::vector<MemoryBank>& banks() const { return banks_; }
  const ModelConfig& config() const { return config_; }
  const ModelSize& size() const { return size_; }

  // Floating-point operations of forward and backward for one token of a sequence of T.
  std::int64_t training_flops_per_token() const;
  std::int64_t scratch_bytes(Device device) const;

 private:
  struct Block {
    AttentionLayer attention;
    std::unique_ptr<FeedForwardLayer> feed_forward;
    MemoryLayer* memory = nullptr;  // feed_forward when that is a memory layer, or has one
    Parameter& attention_norm;      // [C]
    Parameter& ffn_norm;            // [C]
    Tensor input;                   // [N, C] residual state before attention
    Tensor middle;                  // [N, C] residual state before the feed-forward
    Tensor attention_input;         // [N, C] norm of `input`
    Tensor ffn_input;               // [N, C] norm of `middle`
    Tensor attention_inverse_rms;   // [N]
    Tensor ffn_inverse_rms;         // [N]
    std::size_t declared = 0;       // parameters of all that comes before
  };

  const Block* first_memory() const;  // the lowest block with a memory layer, or null
  // Where the backward pass stops, after the memory layer; null: at the embedding.
  const Block* lowest_trained() const {
    return size_.trained == TrainedPart::all ? nullptr : first_memory();
  }
  void build_layers();
  void build_banks(ModelMemory& memory);
  void plan(ModelMemory& memory);
  // normed_ = final norm of the last of `blocks`' residual state. With `cache`, attention decodes.
  void run_blocks(const Context& context, std::span<Block> blocks, Tensor tokens,
                  const TokenLayout& layout, std::int64_t sequences, Mode mode,
                  std::int64_t micro_batch, const CacheLayout* cache, const PassHooks& hooks = {});
  // Rows `wanted` [R] of [N, C], in branch_.
  Tensor pick_rows(const Context& context, const Tensor& rows, const Tensor& wanted);

  ModelConfig config_;
  ModelSize size_;
  ParameterStore parameters_;
  Parameter* embedding_ = nullptr;  // [vocabulary, C]
  std::vector<Block> blocks_;
  std::size_t declared_in_blocks_ = 0;  // parameters of the blocks and what comes before
  Parameter* norm_ = nullptr;
  std::unique_ptr<Head> head_;
  std::vector<MemoryBank> banks_;

  Tensor last_;              // [N, C] residual state after the last block
  Tensor last_inverse_rms_;  // [N]
  Tensor normed_;            // [N, C] input of the head; without training, of every layer
  Tensor branch_;            // [N, C] temporary: output of a layer
  Tensor dresidual_;         // [N, C] gradient of the residual state
  Tensor dnormed_;           // [N, C] temporary
  Tensor losses_;            // [N]
};

}  // namespace memengine
