// Softmax cross-entropy over a chunk of tokens, with its gradient written over the logits.
//
// The head calls this chunk by chunk (model/head.h), so that [N, vocabulary] never exists at once
// and never twice: the same memory holds a chunk's logits, then their gradient.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// losses [N] f32 (f64 for f64) = log-sum-exp(logits) - logits[target]; then logits [N, V]
// = (softmax(logits) - onehot(target)) * gradient_scale. A target of -1 has loss 0 and gradient 0.
void cross_entropy(const Context& context, Tensor losses, Tensor logits, Tensor targets,
                   double gradient_scale);

// Scores without a gradient: log_probabilities [N] f32 (f64) of targets [N] i32 (-1 gives 0), and
// best [N] i32 = the arg max of each row (lowest index on ties). The logits stay as they are.
void token_scores(const Context& context, Tensor log_probabilities, Tensor best, Tensor logits,
                  Tensor targets);

namespace cuda {
decltype(memengine::cross_entropy) cross_entropy;
decltype(memengine::token_scores) token_scores;
}  // namespace cuda

}  // namespace memengine
