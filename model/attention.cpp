// Attention, forward and backward side by side.
#include "model/attention.h"

#include <algorithm>

#include "kernels/linear/linear.h"
#include "kernels/rope.h"
#include "model/initial_std.h"

namespace memengine {

AttentionLayer::AttentionLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer)
    : shape_{config.heads(), config.kv_heads(), config.head_size()},
      dim_(config.dim),
      window_(config.sliding_window.value_or(0)),
      theta_(config.rope_theta),
      wqkv_(store.declare(
          {{layer_name(layer, "attention.wq.weight"), shape_.heads * shape_.head_dim,
            Initializer::truncated_normal(initial_std(config, dim_))},
           {layer_name(layer, "attention.wk.weight"), shape_.kv_heads * shape_.head_dim,
            Initializer::truncated_normal(initial_std(config, dim_))},
           {layer_name(layer, "attention.wv.weight"), shape_.kv_heads * shape_.head_dim,
            Initializer::truncated_normal(initial_std(config, dim_))}},
          dim_)),
      wo_(store.declare({{layer_name(layer, "attention.wo.weight"), dim_,
                          Initializer::truncated_normal(residual_std(config, layer, dim_))}},
                        shape_.heads * shape_.head_dim)) {}

void AttentionLayer::plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
                          bool training) {
  const DType accumulator = dtype == DType::f64 ? DType::f64 : DType::f32;
  const std::int64_t attended = shape_.heads * shape_.head_dim;
  qkv_ = kept.allocate("activations", dtype, {tokens, width()});
  attended_ = kept.allocate("activations", dtype, {tokens, attended});
  log_sum_exp_ = kept.allocate("activations", accumulator, {tokens * shape_.heads});
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
  linear_forward(context, qkv, x, wqkv_.compute, {});
  rope_forward(context, by_head(qkv), positions, rotated_heads(), theta_);
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
  linear_backward_weight(context, wo_.gradient, {}, dout, attended);
  linear_backward_input(context, dattended, dout, wo_.compute, false);
  attention_backward(
      context, by_sequence(dqkv, batch, all_heads), by_sequence(dattended, batch, shape_.heads),
      by_sequence(qkv_.rows(0, tokens), batch, all_heads),
      by_sequence(attended, batch, shape_.heads),
      log_sum_exp.reshape({batch, shape_.heads, tokens / batch}), layout.first_visible, shape_);
  rope_backward(context, by_head(dqkv), layout.positions, rotated_heads(), theta_);
  linear_backward_weight(context, wqkv_.gradient, {}, dqkv, x);
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
  return std::max(attention_scratch_bytes(device, wo_.compute.dtype(), batch, length, shape_),
                  linear_scratch_bytes(device, batch * length, width()));
}

}  // namespace memengine
