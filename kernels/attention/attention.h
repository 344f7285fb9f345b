// Causal grouped-query attention over packed qkv, without ever storing the [T, T] probabilities
// (FlashAttention, Dao et al. 2022: keep each row's log-sum-exp, recompute in the backward pass).
//
// qkv [B, T, heads + 2 * kv_heads, head_dim]: query heads, then key heads, then value heads.
// Query head h reads key/value head h / (heads / kv_heads).
//
// Every mask this engine knows is an interval: query t sees keys first_visible[t] .. t. Causal
// alone is first_visible = 0; a document mask raises it to the document's first token; a sliding
// window of w raises it to t - w + 1. first_visible never decreases along t, so a tile of queries
// can skip every key tile before its first query's bound.
//
// Scoring several continuations of one context adds a second interval (attention_forward only):
// with the context and then each continuation laid one after the other, a continuation's tokens
// see the context and themselves, but nothing of the other continuations between.
#pragma once

#include "kernels/rope.h"
#include "kernels/runtime/context.h"

namespace memengine {

struct AttentionShape {
  std::int64_t heads = 0;     // query heads
  std::int64_t kv_heads = 0;  // divides heads
  std::int64_t head_dim = 0;  // even, at most 128

  static constexpr std::int64_t max_head_dim = 128;
  void check() const;  // an internal error for a shape that is not as above
};

// first_visible [B, T] i32 = max(document_start, t - window + 1, 0). `document_start` [B, T] i32
// may be empty (one document); window 0 means none.
void visible_range(const Context& context, Tensor first_visible, Tensor document_start,
                   std::int64_t window);

// out [B, T, heads, head_dim] = softmax(q k^T / sqrt(head_dim)) v over the visible keys;
// log_sum_exp [B, heads, T] f32 (f64 for f64) of the scaled scores. first_visible may be empty.
// `hidden` [B, T, 2] i32 may be empty; else query t does not see keys hidden[t][0] .. hidden[t][1]
// - 1 either, which lie between first_visible[t] and t.
void attention_forward(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
                       Tensor first_visible, const AttentionShape& shape, Tensor hidden = {});

// The rotary embedding (rope.h) that turned the queries and keys of qkv.
struct AttentionRotation {
  Tensor positions;  // [B T] i32; empty: none
  RopeAngles angles = 1e4;
};

// dqkv = gradient of qkv, all heads overwritten; with a rotation, of qkv as it was before that.
void attention_backward(const Context& context, Tensor dqkv, Tensor dout, Tensor qkv, Tensor out,
                        Tensor log_sum_exp, Tensor first_visible, const AttentionShape& shape,
                        const AttentionRotation& rotation = {});

std::int64_t attention_scratch_bytes(Device device, DType dtype, std::int64_t batch,
                                     std::int64_t length, const AttentionShape& shape);

// Decoding with a key/value cache, over ragged sequences. Row s of qkv [S, heads + 2 kv_heads,
// head_dim] is the token at position positions[s] of sequence sequences[s] (both [S] i32).
//
// Stores the rows' keys and values at their place in the caches [sequences, capacity, kv_heads,
// head_dim].
void store_in_cache(const Context& context, Tensor key_cache, Tensor value_cache, Tensor qkv,
                    Tensor sequences, Tensor positions, const AttentionShape& shape);

// out[s] [S, heads, head_dim] attends to the positions max(0, p - window + 1) .. p of its sequence
// in the caches, which hold them, its own too. window 0 means none.
void attention_cached(const Context& context, Tensor out, Tensor key_cache, Tensor value_cache,
                      Tensor qkv, Tensor sequences, Tensor positions, std::int64_t window,
                      const AttentionShape& shape);

// Heads that have kernels of their own on Hopper GPUs (9.0), for BF16: hopper/hopper.h.
constexpr bool has_hopper_attention(std::int64_t head_dim) {
  return head_dim == 32 || head_dim == 64 || head_dim == 128;
}

namespace cuda {
decltype(memengine::visible_range) visible_range;
decltype(memengine::attention_forward) attention_forward;
decltype(memengine::attention_backward) attention_backward;
decltype(memengine::store_in_cache) store_in_cache;
decltype(memengine::attention_cached) attention_cached;
std::int64_t attention_scratch_bytes(DType dtype, std::int64_t batch, std::int64_t length,
                                     const AttentionShape& shape);
}  // namespace cuda

}  // namespace memengine
