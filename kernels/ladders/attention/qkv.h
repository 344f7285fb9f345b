// Packed queries, keys and values of one query head, as the rungs read them on both devices.
#pragma once

#include <cmath>

#include "kernels/ladders/attention/rungs.h"
#include "kernels/runtime/bfloat16.h"

namespace memengine::ladders {

// T: float or bfloat16. Addresses of token 0 of one sequence and head; a token further is `stride`
// elements further, in `out` out_stride.
template <typename T>
struct HeadView {
  const T *query, *key, *value;
  T* out;              // [T, heads, head_dim]
  float* log_sum_exp;  // [T]
  std::int64_t stride, out_stride;
  int length, head_dim;
  float scale;  // 1 / sqrt(head_dim)
};

// What all heads have in common; hands out one head of one sequence.
template <typename T>
struct Heads {
  const T* qkv;
  T* out;
  float* log_sum_exp;
  std::int64_t length, heads, kv_heads, head_dim;
  float scale;

  Heads(Tensor out_tensor, Tensor log_sum_exp_tensor, Tensor qkv_tensor,
        const AttentionShape& shape)
      : qkv(qkv_tensor.as<T>()),
        out(out_tensor.as<T>()),
        log_sum_exp(log_sum_exp_tensor.as<float>()),
        length(qkv_tensor.dim(1)),
        heads(shape.heads),
        kv_heads(shape.kv_heads),
        head_dim(shape.head_dim),
        scale(1.0F / std::sqrt(static_cast<float>(shape.head_dim))) {}

  // i = sequence * heads + head
  MEMENGINE_HOST_DEVICE HeadView<T> view(std::int64_t i) const {
    const std::int64_t batch = i / heads, head = i % heads;
    const std::int64_t kv_head = head / (heads / kv_heads);
    const std::int64_t stride = (heads + 2 * kv_heads) * head_dim;
    const T* first = qkv + batch * length * stride;
    return {first + head * head_dim,
            first + (heads + kv_head) * head_dim,
            first + (heads + kv_heads + kv_head) * head_dim,
            out + (batch * length * heads + head) * head_dim,
            log_sum_exp + i * length,
            stride,
            heads * head_dim,
            static_cast<int>(length),
            static_cast<int>(head_dim),
            scale};
  }
};

}  // namespace memengine::ladders
