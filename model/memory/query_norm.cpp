// Query norm: parameters and dispatch to the two kernels.
#include "model/memory/query_norm.h"

#include "kernels/norm/batch_norm.h"
#include "kernels/norm/layer_norm.h"
#include "model/initial_std.h"

namespace memengine {
namespace {

Parameter& declare_vector(ParameterStore& store, std::int64_t layer, const char* name,
                          std::int64_t size, double initial) {
  return store.declare({{feed_forward_name(layer, name), size, Initializer::constant(initial)}}, 0);
}

}  // namespace

QueryNormLayer::QueryNormLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer)
    : kind_(config.productkey_args.mem_query_norm),
      heads_(config.productkey_args.mem_heads),
      k_dim_(config.productkey_args.mem_k_dim),
      weight_(declare_vector(store, layer, "query_proj.query_mlps.1.weight", heads_ * k_dim_, 1)),
      bias_(declare_vector(store, layer, "query_proj.query_mlps.1.bias", heads_ * k_dim_, 0)) {
  if (kind_ != QueryNorm::batchnorm) return;
  const std::int64_t features = heads_ * k_dim_;
  running_mean_ = &store.declare_statistic(
      feed_forward_name(layer, "query_proj.query_mlps.1.running_mean"), features, 0);
  running_variance_ = &store.declare_statistic(
      feed_forward_name(layer, "query_proj.query_mlps.1.running_var"), features, 1);
}

void QueryNormLayer::plan(Arena& kept, std::int64_t tokens, DType dtype) {
  tokens_ = tokens;
  const DType accumulator = dtype == DType::f64 ? DType::f64 : DType::f32;
  const std::int64_t groups = kind_ == QueryNorm::batchnorm ? heads_ * k_dim_ : tokens * heads_;
  mean_ = kept.allocate("activations", accumulator, {groups});
  inverse_std_ = kept.allocate("activations", accumulator, {groups});
}

void QueryNormLayer::forward(const Context& context, Tensor out, Tensor x, Mode mode) {
  const std::int64_t tokens = x.dim(0);
  if (kind_ == QueryNorm::layernorm) {
    layer_norm_forward(context, out, mean_.rows(0, tokens * heads_).reshape({tokens, heads_}),
                       inverse_std_.rows(0, tokens * heads_).reshape({tokens, heads_}), x,
                       weight_.value.reshape({heads_, k_dim_}),
                       bias_.value.reshape({heads_, k_dim_}));
    return;
  }
  const Tensor flat_out = out.reshape({tokens, heads_ * k_dim_});
  const Tensor flat_x = x.reshape({tokens, heads_ * k_dim_});
  if (mode == Mode::train) {
    batch_norm_forward_train(context, flat_out, mean_, inverse_std_, running_mean_->value,
                             running_variance_->value, flat_x, weight_.value, bias_.value);
  } else {
    batch_norm_forward_eval(context, flat_out, flat_x, running_mean_->value,
                            running_variance_->value, weight_.value, bias_.value);
  }
}

void QueryNormLayer::backward(const Context& context, Tensor dx, Tensor dout, Tensor x) {
  const std::int64_t tokens = x.dim(0);
  if (kind_ == QueryNorm::layernorm) {
    layer_norm_backward(context, dx, weight_.gradient.reshape({heads_, k_dim_}),
                        bias_.gradient.reshape({heads_, k_dim_}), dout, x,
                        mean_.rows(0, tokens * heads_).reshape({tokens, heads_}),
                        inverse_std_.rows(0, tokens * heads_).reshape({tokens, heads_}),
                        weight_.value.reshape({heads_, k_dim_}));
    return;
  }
  const std::int64_t features = heads_ * k_dim_;
  batch_norm_backward(context, dx.reshape({tokens, features}), weight_.gradient, bias_.gradient,
                      dout.reshape({tokens, features}), x.reshape({tokens, features}), mean_,
                      inverse_std_, weight_.value);
}

std::int64_t QueryNormLayer::scratch_bytes(Device device) const {
  return kind_ == QueryNorm::batchnorm ? batch_norm_scratch_bytes(device, tokens_, heads_ * k_dim_)
                                       : layer_norm_scratch_bytes(device, tokens_, heads_ * k_dim_);
}

}  // namespace memengine
