// What every attention kernel is told, and the launchers that the kernels' files offer.
//
// The mask is an interval: query t of sequence b sees keys first_visible[b, t] .. t. The bound
// never decreases along t, so the queries that see a given key are an interval too.
#pragma once

#include <cuda_runtime.h>

#include "kernels/attention/attention.h"

namespace memengine::cuda {

struct AttentionProblem {
  int batch;
  int length;    // T
  int heads;     // query heads
  int kv_heads;  // divides heads
  int head_dim;  // even; kernels work on the next template size, filled up with zeros
  const std::int32_t* first_visible;  // [B, T] or null
  const std::int32_t* hidden;         // [B, T, 2] or null; the forward pass alone knows it
  float scale;                        // 1 / sqrt(head_dim)
  std::int64_t block_shared_bytes;    // what a block may have on this GPU

  __device__ int group() const { return heads / kv_heads; }
  // Elements from one token to the next in qkv, and in out.
  __device__ int qkv_stride() const { return (heads + 2 * kv_heads) * head_dim; }
  __device__ int out_stride() const { return heads * head_dim; }
  // Offsets of token 0 of sequence b: of any head in qkv (query, then key, then value heads), of a
  // query head in out, and of a query head in log_sum_exp and delta.
  __device__ std::int64_t qkv_offset(int b, int head) const {
    return static_cast<std::int64_t>(b) * length * qkv_stride() + head * head_dim;
  }
  __device__ std::int64_t out_offset(int b, int head) const {
    return static_cast<std::int64_t>(b) * length * out_stride() + head * head_dim;
  }
  __device__ std::int64_t row_offset(int b, int head) const {
    return (static_cast<std::int64_t>(b) * heads + head) * length;
  }

  // The first key that query t sees; t may lie beyond the end.
  __device__ int first_key(int b, int t) const {
    if (first_visible == nullptr) return 0;
    return first_visible[static_cast<std::int64_t>(b) * length + min(t, length - 1)];
  }
  // The keys in between that query t does not see, where `hidden` is given; t may lie beyond the
  // end.
  __device__ int2 hidden_keys(int b, int t) const {
    return reinterpret_cast<const int2*>(
        hidden)[static_cast<std::int64_t>(b) * length + min(t, length - 1)];
  }
  // One past the last query that sees any key below `key_end` (a binary search).
  __device__ int query_end(int b, int key_end) const {
    if (first_visible == nullptr) return length;
    int low = 0, high = length;
    while (low < high) {
      const int middle = (low + high) / 2;
      if (first_key(b, middle) >= key_end)
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }
};

inline constexpr float log2_e = 1.4426950408889634F;
inline constexpr float ln_2 = 0.6931471805599453F;

// The launchers, for T = float and bfloat16. log_sum_exp and delta are [B, heads, T]; delta = rows
// of dout * out summed, what the softmax gradient subtracts.
template <typename T>
void attention_delta(cudaStream_t stream, float* delta, const T* dout, const T* out,
                     const AttentionProblem& problem);
template <typename T>
void attention_forward(cudaStream_t stream, T* out, float* log_sum_exp, const T* qkv,
                       const AttentionProblem& problem);
// The same in double, of FP32 tensors.
void attention_forward_in_double(cudaStream_t stream, float* out, float* log_sum_exp,
                                 const float* qkv, const AttentionProblem& problem);
template <typename T>
void attention_backward(cudaStream_t stream, T* dqkv, const T* dout, const T* qkv,
                        const float* log_sum_exp, const float* delta,
                        const AttentionProblem& problem);

}  // namespace memengine::cuda
