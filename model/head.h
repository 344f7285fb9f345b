// The output head: logits = x W^T, and the loss without ever holding all logits.
//
// The vocabulary reaches 128k, so [N, vocabulary] logits are the largest tensor of a model. The
// head works through the tokens in chunks. Because the loss is the last thing a step computes, each
// chunk can go all the way at once: logits, loss, gradient of the logits over the same memory,
// gradient of x and of W. So logits are computed once and stored at most one chunk at a time.
#pragma once

#include <cstdint>

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"
#include "model/model_config.h"
#include "model/parameter.h"

namespace memengine {

class Head {
 public:
  // `tied` is the embedding's parameter, or null for a head of its own.
  Head(ParameterStore& store, const ModelConfig& config, Parameter* tied);

  void plan(Arena& temporary, std::int64_t tokens, DType dtype);

  // losses [N] f32 (f64) of targets [N]; dx [N, C] overwritten and the weight's gradient
  // accumulated, both of the sum of losses times `gradient_scale`.
  void forward_backward(const Context& context, Tensor losses, Tensor dx, Tensor x, Tensor targets,
                        double gradient_scale);

  // log_probabilities [N] of targets [N] (-1: 0) and the arg max [N] of every row.
  void score(const Context& context, Tensor log_probabilities, Tensor best, Tensor x,
             Tensor targets);

  // logits [S, vocabulary] of a few rows.
  void logits(const Context& context, Tensor out, Tensor x);

  std::int64_t chunk_tokens() const { return chunk_tokens_; }
  std::int64_t multiply_adds() const { return weight_.size(); }

 private:
  Parameter& weight_;  // [vocabulary, C]
  Tensor chunk_;       // [chunk, vocabulary]
  std::int64_t chunk_tokens_ = 0;
};

}  // namespace memengine
