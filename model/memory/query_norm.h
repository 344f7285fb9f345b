// The optional norm on a memory layer's queries.
//
// Batch norm over the tokens is what keeps a memory in use (Lample et al. 2019, section 4.5;
// configs/memory_recipe.yaml has it); layer norm per head is the usual alternative. Parameters
// carry the names they have in the reference, where the norm is the second module of the query
// network.
#pragma once

#include <cstdint>

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"
#include "model/feed_forward.h"
#include "model/model_config.h"
#include "model/parameter.h"

namespace memengine {

class QueryNormLayer {
 public:
  QueryNormLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer);

  void plan(Arena& kept, std::int64_t tokens, DType dtype);

  // out [N, H, k_dim] = norm(x). out and x are different memory. A frozen batch norm is that of
  // evaluation in training too: the running averages, which it leaves as they are.
  void forward(const Context& context, Tensor out, Tensor x, Mode mode);

  // dx [N, H, k_dim] overwritten, may be dout; x is the forward's input.
  void backward(const Context& context, Tensor dx, Tensor dout, Tensor x);

  std::int64_t scratch_bytes(Device device) const;

 private:
  bool frozen() const { return !weight_->trained(); }

  QueryNorm kind_;
  std::int64_t heads_;
  std::int64_t k_dim_;
  // [H * k_dim] each; the kind says which there are.
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;
  Parameter* running_mean_ = nullptr;
  Parameter* running_variance_ = nullptr;
  Tensor mean_, inverse_std_;  // for the backward pass: of each feature, or of each token and head
  Tensor zeros_;               // [H * k_dim], of a frozen batch norm
  std::int64_t tokens_ = 0;
};

}  // namespace memengine
