// What follows a block's second norm: the dense SwiGLU feed-forward or a memory layer.
//
// Both transform [N, C] token by token. A layer keeps what its backward pass needs in activations
// that plan() allocated; `micro_batch` tells which one of the step runs, because a memory layer's
// picks and gradients of all of them wait for the end of the step (memory_bank.h).
#pragma once

#include <cstdint>

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"
#include "model/model_config.h"
#include "model/parameter.h"

namespace memengine {

// Training keeps activations and batch statistics; evaluation does neither.
enum class Mode : std::uint8_t { train, evaluate };

// What backward() will be asked for: nothing (inference, and all below the lowest trained layer);
// the gradients of the layer's own parameters and rows (the lowest trained layer); that of its
// input too.
enum class Wanted : std::uint8_t { nothing, parameters, input };

class FeedForwardLayer {
 public:
  virtual ~FeedForwardLayer() = default;

  // Allocates for up to `tokens` rows: from `kept` what the backward pass needs for what is wanted
  // of it, from `temporary` what holds nothing between calls (all layers get the same memory
  // there).
  virtual void plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
                    Wanted wanted) = 0;

  // out [N, C] = layer(x [N, C]).
  virtual void forward(const Context& context, Tensor out, Tensor x, Mode mode,
                       std::int64_t micro_batch) = 0;

  // dx [N, C] overwritten, or empty: not wanted; gradients of trained parameters accumulate. x as
  // in the last forward(). dx must not be dout.
  virtual void backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                        std::int64_t micro_batch) = 0;

  // Multiply-adds of the forward pass for one token.
  virtual std::int64_t multiply_adds() const = 0;

  virtual std::int64_t scratch_bytes(Device device) const = 0;
};

// out = w2 (silu(w1 x) * w3 x), no biases. w1 and w3 are one product.
class DenseFeedForward : public FeedForwardLayer {
 public:
  DenseFeedForward(ParameterStore& store, const ModelConfig& config, std::int64_t layer);

  void plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
            Wanted wanted) override;
  void forward(const Context& context, Tensor out, Tensor x, Mode mode,
               std::int64_t micro_batch) override;
  void backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                std::int64_t micro_batch) override;
  std::int64_t multiply_adds() const override;
  std::int64_t scratch_bytes(Device device) const override;

 private:
  std::int64_t dim_;
  std::int64_t hidden_;
  Parameter& w13_;            // [2 hidden, C]: w1 (gate), then w3 (up)
  Parameter& w2_;             // [C, hidden]
  Tensor gate_up_;            // [N, 2 hidden], kept for the backward pass, where there is one
  Tensor hidden_activation_;  // [N, hidden], temporary
  Tensor dgate_up_;           // [N, 2 hidden], temporary
  std::int64_t tokens_ = 0;
};

}  // namespace memengine
