// Attention, forward and backward side by side.
#include "model/attention.h"

#include <algorithm>

#include "kernels/linear/linear.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/pointwise/copy_columns.h"
#include "kernels/rope.h"
#include "model/initial_std.h"

namespace memengine {

AttentionLayer::AttentionLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer)
    : shape_{config.heads(), config.kv_heads(), config.head_size()},
      dim_(config.dim),
      window_(config.sliding_window.value_or(0)),
      epsilon_(config.norm_eps),
      angles_(config.rope_theta, config.rope_scaling),
      wqkv_(store.declare_product(
          {{layer_name(layer, "attention.wq.weight"), shape_.heads * shape_.head_dim,
            Initializer::truncated_normal(initial_std(config, dim_))},
           {layer_name(layer, "attention.wk.weight"), shape_.kv_heads * shape_.head_dim,
            Initializer::truncated_normal(initial_std(config, dim_))},
           {layer_name(layer, "attention.wv.weight"), shape_.kv_heads * shape_.head_dim,
            Initializer::truncated_normal(initial_std(config, dim_))}},
          dim_)),
      wo_(store.declare_product(
          {{layer_name(layer, "attention.wo.weight"), dim_,
            Initializer::truncated_normal(residual_std(config, layer, dim_))}},
          shape_.heads * shape_.head_dim)) {
  const auto slice = [&](const char* name, std::int64_t rows, double initial) {
    return ParameterSlice{layer_name(layer, name), rows, Initializer::constant(initial)};
  };
  if (config.qkv_bias) {
    bias_ = &store.declare({slice("attention.wq.bias", shape_.heads * shape_.head_dim, 0),
                            slice("attention.wk.bias", shape_.kv_heads * shape_.head_dim, 0),
                            slice("attention.wv.bias", shape_.kv_heads * shape_.head_dim, 0)},
                           0);
  }
  query_norm_.heads = shape_.heads;
  key_norm_.first = shape_.heads;
  key_norm_.heads = shape_.kv_heads;
  if (config.qk_norm) {
    query_norm_.weight = &store.declare({slice("attention.q_norm.weight", shape_.head_dim, 1)}, 0);
    key_norm_.weight = &store.declare({slice("attention.k_norm.weight", shape_.head_dim, 1)}, 0);
  }
}

void AttentionLayer::plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
                          bool training) {
  const DType accumulator = dtype == DType::f64 ? DType::f64 : DType::f32;
  const std::int64_t attended = shape_.heads * shape_.head_dim;
  qkv_ = kept.allocate("activations", dtype, {tokens, width()});
  attended_ = kept.allocate("activations", dtype, {tokens, attended});
  log_sum_exp_ = kept.allocate("activations", accumulator, {tokens * shape_.heads});
  for (HeadNorm* norm : {&query_norm_, &key_norm_}) {
    if (norm->weight == nullptr) continue;
    Arena& arena = training ? kept : temporary;
    const std::int64_t rows = tokens * norm->heads;
    norm->raw = arena.allocate("activations", dtype, {rows, shape_.head_dim});
    norm->inverse_rms = arena.allocate("activations", accumulator, {rows});
  }
  if (query_norm_.weight != nullptr) {
    const std::int64_t rows = tokens * shape_.heads;
    normed_ = temporary.allocate("activations", dtype, {rows, shape_.head_dim});
    if (training) dnormed_ = temporary.allocate("activations", dtype, {rows, shape_.head_dim});
  }
  if (training) {
    dattended_ = temporary.allocate("activations", dtype, {tokens, attended});
    dqkv_ = temporary.allocate("activations", dtype, {tokens, width()});
  }
}

void AttentionLayer::plan_cache(Arena& arena, std::int64_t sequences, std::int64_t capacity,
                                DType dtype) {
  key_cache_ = arena.allocate("key/value cache", dtype,
                              {sequences, capacity, shape_.kv_heads, shape_.head_dim});
  value_cache_ = arena.allocate("key/value cache", dtype,
                                {sequences, capacity, shape_.kv_heads, shape_.head_dim});
}

void AttentionLayer::project(const Context& context, Tensor qkv, Tensor x, Tensor positions) {
  linear_forward(context, qkv, x, wqkv_.compute, bias_ ? bias_->compute : Tensor());
  normalize(context, query_norm_, qkv);
  normalize(context, key_norm_, qkv);
  rope_forward(context, by_head(qkv), positions, rotated_heads(), angles_);
}

void AttentionLayer::normalize(const Context& context, const HeadNorm& norm, Tensor qkv) {
  if (norm.weight == nullptr) return;
  const std::int64_t tokens = qkv.dim(0), columns = norm.heads * shape_.head_dim;
  const std::int64_t first = norm.first * shape_.head_dim;
  const Tensor raw = norm.raw.rows(0, tokens * norm.heads);
  const Tensor normed = normed_.rows(0, tokens * norm.heads);
  copy_columns(context, raw.reshape({tokens, columns}), 0, qkv, first, columns);
  rms_norm_forward(context, normed, {}, norm.inverse_rms.rows(0, tokens * norm.heads), raw, {},
                   norm.weight->compute, epsilon_);
  copy_columns(context, qkv, first, normed.reshape({tokens, columns}), 0, columns);
}

void AttentionLayer::normalize_backward(const Context& context, const HeadNorm& norm, Tensor dqkv) {
  if (norm.weight == nullptr) return;
  const std::int64_t tokens = dqkv.dim(0), columns = norm.heads * shape_.head_dim;
  const std::int64_t first = norm.first * shape_.head_dim;
  const Tensor raw = norm.raw.rows(0, tokens * norm.heads);
  const Tensor dnormed = dnormed_.rows(0, tokens * norm.heads);
  const Tensor draw = normed_.rows(0, tokens * norm.heads);
  copy_columns(context, dnormed.reshape({tokens, columns}), 0, dqkv, first, columns);
  rms_norm_backward(context, draw, norm.weight->gradient, dnormed, {}, raw,
                    norm.inverse_rms.rows(0, tokens * norm.heads), norm.weight->compute);
  copy_columns(context, dqkv, first, draw.reshape({tokens, columns}), 0, columns);
}

void AttentionLayer::forward(const Context& context, Tensor out, Tensor x,
                             const TokenLayout& layout, std::int64_t batch) {
  const std::int64_t tokens = x.dim(0);
  const Tensor qkv = qkv_.rows(0, tokens);
  const Tensor attended = attended_.rows(0, tokens);
  const Tensor log_sum_exp = log_sum_exp_.rows(0, tokens * shape_.heads);
  project(context, qkv, x, layout.positions);
  attention_forward(context, by_sequence(attended, batch, shape_.heads),
                    log_sum_exp.reshape({batch, shape_.heads, tokens / batch}),
                    by_sequence(qkv, batch, shape_.heads + 2 * shape_.kv_heads),
                    layout.first_visible, shape_, layout.hidden);
  linear_forward(context, out, attended, wo_.compute, {});
}

void AttentionLayer::backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                              const TokenLayout& layout, std::int64_t batch) {
  const std::int64_t tokens = x.dim(0);
  const std::int64_t all_heads = shape_.heads + 2 * shape_.kv_heads;
  const Tensor attended = attended_.rows(0, tokens);
  const Tensor dattended = dattended_.rows(0, tokens);
  const Tensor dqkv = dqkv_.rows(0, tokens);
  const Tensor log_sum_exp = log_sum_exp_.rows(0, tokens * shape_.heads);
  if (wo_.trained()) {
    linear_backward_weight(context, wo_.gradient, {}, dout, attended, wo_.accumulates());
  }
  linear_backward_input(context, dattended, dout, wo_.compute, false);
  attention_backward(context, by_sequence(dqkv, batch, all_heads),
                     by_sequence(dattended, batch, shape_.heads),
                     by_sequence(qkv_.rows(0, tokens), batch, all_heads),
                     by_sequence(attended, batch, shape_.heads),
                     log_sum_exp.reshape({batch, shape_.heads, tokens / batch}),
                     layout.first_visible, shape_, {layout.positions, angles_});
  normalize_backward(context, query_norm_, dqkv);
  normalize_backward(context, key_norm_, dqkv);
  if (wqkv_.trained()) {
    linear_backward_weight(context, wqkv_.gradient, bias_ ? bias_->gradient : Tensor(), dqkv, x,
                           wqkv_.accumulates());
  }
  linear_backward_input(context, dx, dqkv, wqkv_.compute, false);
}

void AttentionLayer::forward_cached(const Context& context, Tensor out, Tensor x,
                                    const CacheLayout& layout) {
  const std::int64_t rows = x.dim(0);
  const Tensor qkv = qkv_.rows(0, rows);
  const Tensor attended = attended_.rows(0, rows);
  project(context, qkv, x, layout.positions);
  store_in_cache(context, key_cache_, value_cache_, by_head(qkv), layout.sequences,
                 layout.positions, shape_);
  const std::int64_t beginning = layout.first_visible.empty() ? 0 : layout.first_visible.size();
  const std::int64_t continued = rows - beginning;
  if (continued > 0) {
    attention_cached(
        context, attended.rows(0, continued).reshape({continued, shape_.heads, shape_.head_dim}),
        key_cache_, value_cache_, by_head(qkv.rows(0, continued)),
        layout.sequences.rows(0, continued), layout.positions.rows(0, continued), window_, shape_);
  }
  if (beginning > 0) {
    attention_forward(
        context, by_sequence(attended.rows(continued, beginning), 1, shape_.heads),
        log_sum_exp_.rows(0, beginning * shape_.heads).reshape({1, shape_.heads, beginning}),
        by_sequence(qkv.rows(continued, beginning), 1, shape_.heads + 2 * shape_.kv_heads),
        layout.first_visible, shape_);
  }
  linear_forward(context, out, attended, wo_.compute, {});
}

// Causal attention meets half of the `length` keys on average, once for scores, once for values.
std::int64_t AttentionLayer::multiply_adds(std::int64_t length) const {
  const std::int64_t seen = window_ > 0 ? std::min(window_, length / 2) : length / 2;
  return dim_ * width() + dim_ * shape_.heads * shape_.head_dim +
         2 * seen * shape_.heads * shape_.head_dim;
}

std::int64_t AttentionLayer::scratch_bytes(Device device, std::int64_t batch,
                                           std::int64_t length) const {
  const std::int64_t tokens = batch * length;
  return std::max({attention_scratch_bytes(device, wo_.compute.dtype(), batch, length, shape_),
                   linear_scratch_bytes(device, tokens, width()),
                   rms_norm_scratch_bytes(device, tokens * shape_.heads, shape_.head_dim)});
}

}  // namespace memengine
