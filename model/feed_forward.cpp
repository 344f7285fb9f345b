// The dense feed-forward, forward and backward side by side.
//
// Only gate_up is kept. The backward pass needs silu(gate) * up again, for w2's gradient: SwiGLU's
// own backward pass, which reads gate and up anyway, leaves it in place of the gradient it has
// used.
#include "model/feed_forward.h"

#include <cmath>
#include <string>

#include "kernels/linear/linear.h"
#include "kernels/pointwise/swiglu.h"
#include "model/initial_std.h"

namespace memengine {

DenseFeedForward::DenseFeedForward(ParameterStore& store, const ModelConfig& config,
                                   std::int64_t layer)
    : dim_(config.dim),
      hidden_(config.ffn_hidden()),
      w13_(store.declare_product({{feed_forward_name(layer, "w1.weight"), hidden_,
                                   Initializer::truncated_normal(initial_std(config, config.dim))},
                                  {feed_forward_name(layer, "w3.weight"), hidden_,
                                   Initializer::truncated_normal(initial_std(config, config.dim))}},
                                 config.dim)),
      w2_(store.declare_product(
          {{feed_forward_name(layer, "w2.weight"), config.dim,
            Initializer::truncated_normal(residual_std(config, layer, hidden_))}},
          hidden_)) {}

void DenseFeedForward::plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
                            Wanted wanted) {
  tokens_ = tokens;
  const bool backward = wanted == Wanted::input || (wanted == Wanted::parameters && w2_.trained());
  gate_up_ = (backward ? kept : temporary).allocate("activations", dtype, {tokens, 2 * hidden_});
  hidden_activation_ = temporary.allocate("activations", dtype, {tokens, hidden_});
  if (backward) dgate_up_ = temporary.allocate("activations", dtype, {tokens, 2 * hidden_});
}

void DenseFeedForward::forward(const Context& context, Tensor out, Tensor x, Mode /*mode*/,
                               std::int64_t /*micro_batch*/) {
  const Tensor gate_up = gate_up_.rows(0, x.dim(0));
  const Tensor hidden = hidden_activation_.rows(0, x.dim(0));
  linear_forward(context, gate_up, x, w13_.compute, {});
  swiglu_forward(context, hidden, gate_up);
  linear_forward(context, out, hidden, w2_.compute, {});
}

void DenseFeedForward::backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                                std::int64_t /*micro_batch*/) {
  if (dx.empty() && !w2_.trained()) return;
  const Tensor gate_up = gate_up_.rows(0, x.dim(0));
  const Tensor hidden = hidden_activation_.rows(0, x.dim(0));
  const Tensor dgate_up = dgate_up_.rows(0, x.dim(0));
  linear_backward_input(context, hidden, dout, w2_.compute, false);  // d(hidden)
  swiglu_backward(context, dgate_up, hidden, gate_up);               // hidden itself again
  if (w2_.trained()) {
    linear_backward_weight(context, w2_.gradient, {}, dout, hidden, w2_.accumulates());
    linear_backward_weight(context, w13_.gradient, {}, dgate_up, x, w13_.accumulates());
  }
  if (!dx.empty()) linear_backward_input(context, dx, dgate_up, w13_.compute, false);
}

std::int64_t DenseFeedForward::multiply_adds() const {
  return 3 * dim_ * hidden_;
}

std::int64_t DenseFeedForward::scratch_bytes(Device device) const {
  return linear_scratch_bytes(device, tokens_, 2 * hidden_);
}

}  // namespace memengine
