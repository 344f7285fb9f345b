// The head's three uses: training, scoring, sampling.
#include "model/head.h"

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy.h"
#include "kernels/linear/linear.h"
#include "model/initial_std.h"

namespace memengine {
namespace {

// A chunk's logits take about this much: large enough to fill a GPU, small next to the rest.
constexpr std::int64_t chunk_bytes = std::int64_t{128} << 20;

}  // namespace

Head::Head(ParameterStore& store, const ModelConfig& config, Parameter* tied)
    : weight_(tied != nullptr
                  ? *tied
                  : store.declare_product(
                        {{"output.weight", config.vocab_size,
                          Initializer::truncated_normal(initial_std(config, config.dim))}},
                        config.dim)) {}

void Head::plan(Arena& temporary, std::int64_t tokens, DType dtype) {
  const std::int64_t row_bytes = weight_.rows * element_bytes(dtype);
  const std::int64_t fitting = std::max<std::int64_t>(chunk_bytes / row_bytes / 128 * 128, 128);
  chunk_tokens_ = std::min(tokens, fitting);
  chunk_ = temporary.allocate("activations", dtype, {chunk_tokens_, weight_.rows});
}

void Head::forward_backward(const Context& context, Tensor losses, Tensor dx, Tensor x,
                            Tensor targets, double gradient_scale) {
  for (std::int64_t first = 0; first < x.dim(0); first += chunk_tokens_) {
    const std::int64_t count = std::min(chunk_tokens_, x.dim(0) - first);
    const Tensor logits = chunk_.rows(0, count);
    const Tensor rows = x.rows(first, count);
    linear_forward(context, logits, rows, weight_.compute, {});
    cross_entropy(context, losses.rows(first, count), logits, targets.rows(first, count),
                  gradient_scale);
    linear_backward_input(context, dx.rows(first, count), logits, weight_.compute, false);
    if (weight_.trained()) {
      linear_backward_weight(context, weight_.gradient, {}, logits, rows, weight_.accumulates());
    }
  }
}

void Head::score(const Context& context, Tensor log_probabilities, Tensor best, Tensor x,
                 Tensor targets) {
  for (std::int64_t first = 0; first < x.dim(0); first += chunk_tokens_) {
    const std::int64_t count = std::min(chunk_tokens_, x.dim(0) - first);
    const Tensor logits = chunk_.rows(0, count);
    linear_forward(context, logits, x.rows(first, count), weight_.compute, {});
    token_scores(context, log_probabilities.rows(first, count), best.rows(first, count), logits,
                 targets.rows(first, count));
  }
}

void Head::logits(const Context& context, Tensor out, Tensor x) {
  linear_forward(context, out, x, weight_.compute, {});
}

}  // namespace memengine
