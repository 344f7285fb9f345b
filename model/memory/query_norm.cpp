// Query norm: parameters and dispatch to the kernels. Each kind has its case in every switch; the
// compiler names the switches that a new kind is missing from.
#include "model/memory/query_norm.h"

#include "kernels/norm/batch_norm.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"
#include "model/initial_std.h"

namespace memengine {
namespace {

std::string query_norm_name(std::int64_t layer, const std::string& name) {
  return feed_forward_name(layer, ("query_proj.query_mlps.1." + name).c_str());
}

// A layer without a norm has no QueryNormLayer.
[[noreturn]] void no_norm() {
  fail_internal("a query norm of no kind");
}

// [N, H, k_dim] as [N, H * k_dim].
Tensor features(const Tensor& x) {
  return x.reshape({x.dim(0), x.dim(1) * x.dim(2)});
}

// What is kept of each head of N tokens: [N, H].
Tensor per_head(const Tensor& kept, const Tensor& x) {
  return kept.rows(0, x.dim(0) * x.dim(1)).reshape({x.dim(0), x.dim(1)});
}

}  // namespace

QueryNormLayer::QueryNormLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer)
    : kind_(config.productkey_args.mem_query_norm),
      heads_(config.productkey_args.mem_heads),
      k_dim_(config.productkey_args.mem_k_dim) {
  const auto parameter = [&](const char* name, double initial) {
    return &store.declare(
        {{query_norm_name(layer, name), heads_ * k_dim_, Initializer::constant(initial)}}, 0);
  };
  const auto statistic = [&](const char* name, double initial) {
    return &store.declare_statistic(query_norm_name(layer, name), heads_ * k_dim_, initial);
  };
  switch (kind_) {
    case QueryNorm::none:
      no_norm();
    case QueryNorm::layernorm:
      weight_ = parameter("weight", 1);
      bias_ = parameter("bias", 0);
      return;
    case QueryNorm::batchnorm:
      weight_ = parameter("weight", 1);
      bias_ = parameter("bias", 0);
      running_mean_ = statistic("running_mean", 0);
      running_variance_ = statistic("running_var", 1);
      return;
  }
}

void QueryNormLayer::plan(Arena& kept, std::int64_t tokens, DType dtype) {
  tokens_ = tokens;
  const DType accumulator = dtype == DType::f64 ? DType::f64 : DType::f32;
  const auto allocate = [&](std::int64_t groups) {
    mean_ = kept.allocate("activations", accumulator, {groups});
    inverse_std_ = kept.allocate("activations", accumulator, {groups});
  };
  switch (kind_) {
    case QueryNorm::none:
      no_norm();
    case QueryNorm::batchnorm:
      if (frozen()) zeros_ = kept.allocate("activations", accumulator, {heads_ * k_dim_});
      return allocate(heads_ * k_dim_);
    case QueryNorm::layernorm:
      return allocate(tokens * heads_);
  }
}

void QueryNormLayer::forward(const Context& context, Tensor out, Tensor x, Mode mode) {
  const ExchangePurpose purpose(*context.communicator, "batch norm");
  switch (kind_) {
    case QueryNorm::none:
      no_norm();
    case QueryNorm::layernorm:
      return layer_norm_forward(context, out, per_head(mean_, x), per_head(inverse_std_, x), x,
                                weight_->value.reshape({heads_, k_dim_}),
                                bias_->value.reshape({heads_, k_dim_}));
    case QueryNorm::batchnorm:
      if (mode == Mode::train && !frozen()) {
        batch_norm_forward_train(context, features(out), mean_, inverse_std_, running_mean_->value,
                                 running_variance_->value, features(x), weight_->value,
                                 bias_->value);
      } else {
        batch_norm_forward_eval(context, features(out), features(x), running_mean_->value,
                                running_variance_->value, weight_->value, bias_->value);
      }
      return;
  }
}

void QueryNormLayer::backward(const Context& context, Tensor dx, Tensor dout, Tensor x) {
  const ExchangePurpose purpose(*context.communicator, "batch norm");
  const auto by_head = [&](const Tensor& gradient) {
    return gradient.empty() ? Tensor() : gradient.reshape({heads_, k_dim_});
  };
  switch (kind_) {
    case QueryNorm::none:
      no_norm();
    case QueryNorm::layernorm:
      return layer_norm_backward(context, dx, by_head(weight_->gradient), by_head(bias_->gradient),
                                 dout, x, per_head(mean_, x), per_head(inverse_std_, x),
                                 weight_->value.reshape({heads_, k_dim_}));
    case QueryNorm::batchnorm:
      if (frozen()) {  // dx = dout * weight / sqrt(variance + 1e-5)
        fill_zero(context, zeros_);
        return batch_norm_forward_eval(context, features(dx), features(dout), zeros_,
                                       running_variance_->value, weight_->value, zeros_);
      }
      return batch_norm_backward(context, features(dx), weight_->gradient, bias_->gradient,
                                 features(dout), features(x), mean_, inverse_std_, weight_->value);
  }
}

std::int64_t QueryNormLayer::scratch_bytes(Device device) const {
  switch (kind_) {
    case QueryNorm::none:
      break;
    case QueryNorm::batchnorm:
      return batch_norm_scratch_bytes(device, tokens_, heads_ * k_dim_);
    case QueryNorm::layernorm:
      return layer_norm_scratch_bytes(device, tokens_, heads_ * k_dim_);
  }
  no_norm();
}

}  // namespace memengine
