// Decoding on the CPU: each new token attends to its sequence's cached keys and values.
//
// All rows' keys and values go into the caches first, so that the tokens of a prompt, which arrive
// together, see each other. Each (row, head) makes one pass over its interval of positions, with
// the softmax kept up block by block (online softmax), so no scores are stored.
#include <algorithm>
#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/dispatch.h"

namespace memengine {
namespace {

// One query over its cached keys and values, block by block: the running sum is rescaled whenever
// a block brings a larger score (online softmax).
template <typename T>
void attend_cached(T* out, const T* query, const T* keys, const T* values, std::int64_t first,
                   std::int64_t last, std::int64_t stride, std::int64_t head_dim, T scale) {
  constexpr std::int64_t block = 128;
  T scores[block];
  T sum[AttentionShape::max_head_dim] = {};
  T largest = 0;
  T total = 0;
  for (std::int64_t start = first; start <= last; start += block) {
    const std::int64_t count = std::min(block, last + 1 - start);
    T block_largest = 0;
    for (std::int64_t j = 0; j < count; ++j) {
      scores[j] = scale * dot(query, keys + (start + j) * stride, head_dim);
      block_largest = j == 0 ? scores[0] : std::max(block_largest, scores[j]);
    }
    const T before = largest;
    largest = start == first ? block_largest : std::max(largest, block_largest);
    const T rescale = start == first ? T(0) : fast_exp(before - largest);
    total *= rescale;
    for (std::int64_t d = 0; d < head_dim; ++d) sum[d] *= rescale;
    for (std::int64_t j = 0; j < count; ++j) {
      const T probability = fast_exp(scores[j] - largest);
      total += probability;
      add_scaled(sum, probability, values + (start + j) * stride, head_dim);
    }
  }
  for (std::int64_t d = 0; d < head_dim; ++d) out[d] = sum[d] / total;
}

}  // namespace

void store_in_cache(const Context& context, Tensor key_cache, Tensor value_cache, Tensor qkv,
                    Tensor sequences, Tensor positions, const AttentionShape& shape) {
  MEMENGINE_ON_CUDA(context, cuda::store_in_cache(context, key_cache, value_cache, qkv, sequences,
                                                  positions, shape));
  const std::int64_t kv_stride = shape.kv_heads * shape.head_dim;
  const std::int64_t sequence_stride = key_cache.dim(1) * kv_stride;
  const std::int64_t row_stride = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  const std::int32_t* sequence = sequences.as<std::int32_t>();
  const std::int32_t* position = positions.as<std::int32_t>();
  dispatch_floating(qkv.dtype(), [&]<typename T>() {
    for (std::int64_t s = 0; s < sequences.size(); ++s) {
      const std::int64_t place = sequence[s] * sequence_stride + position[s] * kv_stride;
      const T* key = qkv.as<T>() + s * row_stride + shape.heads * shape.head_dim;
      std::copy_n(key, kv_stride, key_cache.as<T>() + place);
      std::copy_n(key + kv_stride, kv_stride, value_cache.as<T>() + place);
    }
  });
}

void attention_cached(const Context& context, Tensor out, Tensor key_cache, Tensor value_cache,
                      Tensor qkv, Tensor sequences, Tensor positions, std::int64_t window,
                      const AttentionShape& shape) {
  MEMENGINE_ON_CUDA(context, cuda::attention_cached(context, out, key_cache, value_cache, qkv,
                                                    sequences, positions, window, shape));
  shape.check();
  const std::int64_t rows = sequences.size();
  const std::int64_t kv_stride = shape.kv_heads * shape.head_dim;
  const std::int64_t sequence_stride = key_cache.dim(1) * kv_stride;
  const std::int64_t row_stride = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  const std::int64_t group = shape.heads / shape.kv_heads;
  const std::int32_t* sequence = sequences.as<std::int32_t>();
  const std::int32_t* position = positions.as<std::int32_t>();
  dispatch_floating(qkv.dtype(), [&]<typename T>() {
    const T* keys = key_cache.as<T>();
    const T* values = value_cache.as<T>();
    T* result = out.as<T>();
    const T* packed = qkv.as<T>();
    const T scale = static_cast<T>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
    // Of the first row, which stands for all.
    const std::int64_t elements = rows * shape.heads * shape.head_dim * (position[0] + 1);
#pragma omp parallel for schedule(dynamic) if (rows > 1 || elements > worth_sharing)
    for (std::int64_t task = 0; task < rows * shape.heads; ++task) {
      const std::int64_t s = task / shape.heads;
      const std::int64_t head = task % shape.heads;
      const std::int64_t place = sequence[s] * sequence_stride + head / group * shape.head_dim;
      const std::int64_t last = position[s];
      const std::int64_t first = window > 0 ? std::max<std::int64_t>(last - window + 1, 0) : 0;
      attend_cached(result + task * shape.head_dim, packed + s * row_stride + head * shape.head_dim,
                    keys + place, values + place, first, last, kv_stride, shape.head_dim, scale);
    }
  });
}

}  // namespace memengine
