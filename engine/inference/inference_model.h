// A model for scoring and decoding, in memory that was planned first: no gradients, no optimizer.
//
// It takes and gives plain host arrays. A pass holds up to N rows; which rows belong together is
// said by positions and document starts (score), or by cache sequences (decode), so that one pass
// serves many texts.
//
// A decoding pass that only continues texts, one row for each, is the same work every time but for
// its numbers: on a GPU it is recorded as a CUDA graph for each number of rows and replayed.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "engine/config/memory_plan.h"
#include "engine/model_files/model_source.h"
#include "kernels/runtime/runtime.h"
#include "kernels/runtime/step_graph.h"
#include "model/transformer.h"

namespace memengine {

struct InferenceSize {
  std::int64_t tokens = 1024;        // N: most rows of one pass
  std::int64_t cache_sequences = 0;  // texts that decode at once; 0: only score()
  std::int64_t cache_length = 0;     // most tokens of each
  bool bf16 = false;                 // compute in BF16; on a GPU only, the CPU computes in FP32
  bool fp64 = false;                 // compute in FP64 with the FP32 weights; on the CPU only
  bool allow_tf32 = false;
  bool sums_in_double = false;  // of FP32 products and attention on a GPU: to the last digit
  // How the user asks for so many rows at most ("--rows=512"), for the advice when the model does
  // not fit; empty: no one asks for them.
  std::function<std::string(std::int64_t)> ask_for_rows;
};

// Rows of one score() pass, arrays of the same length, at most N. Row i reads rows
// document_start[i] .. i of the pass, without those from hidden[2 i] to below hidden[2 i + 1],
// which lie within that interval; so several continuations can share the context that stands before
// them. `hidden` may be empty; it must be with a sliding window, which counts rows, not positions.
// target -1: nothing is asked of the row.
struct ScoreRows {
  std::vector<std::int32_t> tokens, targets, positions, document_start;
  std::vector<std::int32_t> hidden;  // two per row

  void clear();
  std::int64_t size() const { return static_cast<std::int64_t>(tokens.size()); }
};

// Rows of one decode() pass, at most N: row i is the token at positions[i] of cache sequence
// sequences[i]; rows of one sequence in ascending order, without a gap to what its cache holds.
// `wanted` lists the rows whose logits are asked for, at most cache_sequences.
struct DecodeRows {
  std::vector<std::int32_t> tokens, sequences, positions, wanted;

  void clear();
  std::int64_t size() const { return static_cast<std::int64_t>(tokens.size()); }
};

class InferenceModel {
 public:
  // Allocates nothing.
  static MemoryPlan plan(const ModelConfig& config, const InferenceSize& size, Device device);

  // Plans, checks that the plan fits (input error if not, with the number of rows that would),
  // allocates and builds. The weights are zero until load() or initialize(). The runtime outlives
  // the model.
  InferenceModel(const ModelConfig& config, const InferenceSize& size, Runtime& runtime);

  // Weights of a source whose config this model was built from. Input errors name file and tensor.
  void load(const ModelSource& source);
  // Fresh random weights.
  void initialize(std::uint64_t seed);

  // Both overwritten with one number for each row that has a target, in the rows' order:
  // log p(target | the row and those it reads), and the most likely token. At least one row has
  // one.
  void score(const ScoreRows& rows, std::vector<double>& log_probabilities,
             std::vector<std::int32_t>& best);

  // The lookups of a pass alone: hooks.looked_up is called for each memory layer with tensors that
  // the stream's next work overwrites, so what it enqueues must copy them. Targets play no part;
  // `rows` may be changed once this returns, though the work may not be done yet.
  void look_up(const ScoreRows& rows, const PassHooks& hooks);

  // logits overwritten: [wanted, vocabulary].
  void decode(const DecodeRows& rows, std::vector<float>& logits);

  // The most likely token of each wanted row, overwritten: the largest logit, the lowest id of
  // equals. Found on the device, so that no logits are copied.
  void decode_greedy(const DecodeRows& rows, std::vector<std::int32_t>& best);

  const ModelConfig& config() const { return transformer_->config(); }
  const InferenceSize& size() const { return size_; }
  Transformer& transformer() { return *transformer_; }
  const Context& context() const { return runtime_.context(); }
  void synchronize() { runtime_.synchronize(); }
  const MemoryPlan& memory_plan() const { return plan_; }

 private:
  struct Buffers {
    Tensor tokens, targets, positions, document_start, first_visible, best;  // i32 [N]
    Tensor sequences, wanted;                                                // i32 [N]
    Tensor hidden;                                                           // i32 [2 N]
    Tensor log_probabilities;                                                // f32 or f64 [N]
    Tensor logits;  // [cache_sequences, vocabulary]
    Tensor step;    // i32 [5 cache_sequences]: what a recorded pass reads, in one copy
  };
  struct Parts;

  Tensor decode_logits(const DecodeRows& rows);
  CacheLayout cache_layout(const DecodeRows& rows);
  // The most likely tokens of these logits -> best; `targets` are -1.
  void choose(const Tensor& best, const Tensor& logits, const Tensor& targets);
  bool only_continues(const DecodeRows& rows) const;
  // The same as a recorded pass: logits, and with `greedy` the choices in `chosen_`.
  Tensor replay(const DecodeRows& rows, bool greedy);
  Tensor upload(const Tensor& buffer, const std::vector<std::int32_t>& numbers);
  TokenBatch upload(const ScoreRows& rows);
  // numbers = x (f32, f64 or bf16), once the device has computed it.
  template <typename Number>
  void download(std::vector<Number>& numbers, const Tensor& x);

  Runtime& runtime_;
  InferenceSize size_;
  MemoryPlan plan_;
  ModelMemory memory_;
  std::unique_ptr<Transformer> transformer_;
  Buffers buffers_;
  std::map<std::pair<std::int64_t, bool>, StepGraph> recorded_;  // of so many rows; greedy?
  // Page-locked, [5 cache_sequences] in, [cache_sequences] out; none on the CPU.
  std::unique_ptr<std::int32_t[], void (*)(void*)> inputs_{nullptr, nullptr};
  std::int32_t* chosen_ = nullptr;
  std::vector<std::byte> downloaded_;
  std::vector<std::int32_t> wanted_, wanted_targets_;
};

// Of one text that decodes, of size.cache_length tokens: its caches and its logits, in the dtype
// that a model of this size computes in.
std::int64_t decoding_bytes(const ModelConfig& config, const InferenceSize& size, Device device);

// How many such texts can decode at once: at most `most`, and no more than a quarter of the free
// memory holds caches for. At least 1. For a GPU that is not there to be asked: `most`.
std::int64_t fitting_sequences(const ModelConfig& config, const InferenceSize& size, Device device,
                               std::int64_t most);

}  // namespace memengine
