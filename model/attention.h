// Multi-head self-attention with rotary positions and grouped key/value heads.
//
// out = wo attention(rope(wq x), rope(wk x), wv x). With qkv_bias, wq, wk and wv have biases; with
// qk_norm every query and key head is normalised (RMSNorm over head_dim) before the rotation. The
// three input projections are one product with the stacked weight [(heads + 2 kv_heads) head_dim,
// C], and q, k, v stay packed.
#pragma once

#include <cstdint>

#include "kernels/attention/attention.h"
#include "kernels/rope.h"
#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"
#include "model/model_config.h"
#include "model/parameter.h"

namespace memengine {

// Where the tokens of a batch stand; the same for all layers.
struct TokenLayout {
  Tensor positions;      // [N] i32, for the rotary embedding
  Tensor first_visible;  // [B, T] i32 (kernels/attention/attention.h), or empty
  Tensor hidden;         // [B, T, 2] i32 (kernels/attention/attention.h), or empty; not in training
};

// Decoding: which row of the caches a token belongs to (kernels/attention/attention.h,
// attention_cached).
struct CacheLayout {
  Tensor sequences;  // [S] i32
  Tensor positions;  // [S] i32
  // [1, F] i32, or empty: the last F rows are beginnings of texts, each whole from its position 0
  // on, so that all they attend to is among these rows, from row first_visible of them on.
  Tensor first_visible;
};

class AttentionLayer {
 public:
  AttentionLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer);

  // Activations for up to `tokens` rows. `kept` and `temporary` as in feed_forward.h.
  void plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype, bool training);
  // Caches for decoding: [sequences, capacity, kv_heads, head_dim] of keys and of values.
  void plan_cache(Arena& arena, std::int64_t sequences, std::int64_t capacity, DType dtype);

  // out [B T, C] = layer(x [B T, C]); B and T are those of layout.first_visible.
  void forward(const Context& context, Tensor out, Tensor x, const TokenLayout& layout,
               std::int64_t batch);
  // dx overwritten, must not be dout; parameter gradients accumulate.
  void backward(const Context& context, Tensor dx, Tensor dout, Tensor x, const TokenLayout& layout,
                std::int64_t batch);

  // out [S, C] of rows x [S, C] that continue the cached sequences.
  void forward_cached(const Context& context, Tensor out, Tensor x, const CacheLayout& layout);

  std::int64_t multiply_adds(std::int64_t length) const;
  std::int64_t scratch_bytes(Device device, std::int64_t batch, std::int64_t length) const;

 private:
  // The heads of one kind, normalised: what stands before and after is kept apart.
  struct HeadNorm {
    Parameter* weight = nullptr;  // [head_dim]; none: no norm
    std::int64_t first = 0, heads = 0;
    Tensor raw;          // [N * heads, head_dim], before the norm
    Tensor inverse_rms;  // [N * heads]
  };

  void project(const Context& context, Tensor qkv, Tensor x, Tensor positions);
  void normalize(const Context& context, const HeadNorm& norm, Tensor qkv);
  void normalize_backward(const Context& context, const HeadNorm& norm, Tensor dqkv);
  std::int64_t width() const { return (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim; }
  std::int64_t rotated_heads() const { return shape_.heads + shape_.kv_heads; }
  Tensor by_head(const Tensor& qkv) const {  // [N, all heads, head_dim]
    return qkv.reshape({qkv.dim(0), shape_.heads + 2 * shape_.kv_heads, shape_.head_dim});
  }
  Tensor by_sequence(const Tensor& x, std::int64_t batch, std::int64_t heads) const {
    return x.reshape({batch, x.dim(0) / batch, heads, shape_.head_dim});
  }

  AttentionShape shape_;
  std::int64_t dim_;
  std::int64_t window_;
  double epsilon_;
  RopeAngles angles_;
  Parameter& wqkv_;
  Parameter* bias_ = nullptr;  // [width], with qkv_bias
  Parameter& wo_;

  Tensor qkv_;          // [N, width] after the rotation
  Tensor attended_;     // [N, heads * head_dim]
  Tensor log_sum_exp_;  // [N * heads], B x heads x T
  Tensor dattended_;    // temporary
  Tensor dqkv_;         // temporary
  HeadNorm query_norm_, key_norm_;
  // Temporary [N * heads, head_dim]: of the kind of heads that is normalised now.
  Tensor normed_, dnormed_;
  Tensor key_cache_, value_cache_;
};

}  // namespace memengine
