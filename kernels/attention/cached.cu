// Decoding with a key/value cache: a block a query row and head, keys spread over groups of lanes.
//
// A group is the smallest power of two of lanes that holds a head in pairs of elements (two pairs a
// lane for heads wider than 64). Each group walks over its own keys with a running maximum and sum;
// at the end the block merges the groups. Bound by reading the cache: 2 (p + 1) head_dim elements
// a row and head, of which query heads that share a key/value head find their copies in L2.
#include "kernels/attention/problem.cuh"
#include "kernels/attention/tensor_core.cuh"
#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int threads = 128;
constexpr float nothing_seen = -1e30F;  // finite: the difference of two of them is zero, not NaN

__device__ float2 load_pair(const float* pair) {
  return *reinterpret_cast<const float2*>(pair);
}
__device__ float2 load_pair(const bfloat16* pair) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(pair));
}
__device__ void store_element(float* target, float x) {
  *target = x;
}
__device__ void store_element(bfloat16* target, float x) {
  *target = to_bfloat16(x);
}

struct CacheShape {
  int heads, kv_heads, head_dim;
  std::int64_t capacity;  // positions of a sequence
  std::int64_t window;    // 0: none
};

template <typename T>
__global__ void __launch_bounds__(threads)
    store_in_cache_kernel(T* key_cache, T* value_cache, const T* qkv, const std::int32_t* sequences,
                          const std::int32_t* positions, CacheShape shape) {
  const std::int64_t row = blockIdx.x;
  const int width = shape.kv_heads * shape.head_dim;
  const T* keys = qkv + row * (shape.heads + 2 * shape.kv_heads) * shape.head_dim +
                  std::int64_t{shape.heads} * shape.head_dim;
  const std::int64_t place = (sequences[row] * shape.capacity + positions[row]) * width;
  for (int i = threadIdx.x; i < width; i += threads) {
    key_cache[place + i] = keys[i];
    value_cache[place + i] = keys[width + i];
  }
}

// lanes: of a group; it holds pairs lane and lane + lanes of a head.
template <typename T>
__global__ void __launch_bounds__(threads)
    attention_cached_kernel(T* out, const T* key_cache, const T* value_cache, const T* qkv,
                            const std::int32_t* sequences, const std::int32_t* positions, int lanes,
                            float scale, CacheShape shape) {
  __shared__ float maxima[threads], sums[threads];  // [groups]
  __shared__ float outputs[4 * threads];            // [groups, head_dim]

  const std::int64_t row = blockIdx.x;
  const int head = blockIdx.y, head_dim = shape.head_dim;
  const int kv_head = head / (shape.heads / shape.kv_heads);
  const int groups = threads / lanes, group = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const std::int64_t stride = std::int64_t{shape.kv_heads} * head_dim;
  const std::int64_t base =
      sequences[row] * shape.capacity * stride + std::int64_t{kv_head} * head_dim;
  const int last = positions[row];
  const int first =
      shape.window > 0 ? static_cast<int>(max(last - shape.window + 1, std::int64_t{0})) : 0;

  const T* query = qkv + (row * (shape.heads + 2 * shape.kv_heads) + head) * head_dim;
  bool present[2];
  float2 q[2], output[2];
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int column = 2 * (lane + i * lanes);
    present[i] = column < head_dim;
    output[i] = make_float2(0, 0);
    q[i] = present[i] ? load_pair(query + column) : make_float2(0, 0);
    q[i].x *= scale * log2_e;
    q[i].y *= scale * log2_e;
  }

  float maximum = nothing_seen, sum = 0;
  // All lanes of a warp make the same number of turns: the sums over a group are shuffles.
  for (int turn = first; turn <= last; turn += groups) {
    const int key = turn + group;
    const bool visible = key <= last;
    const std::int64_t place = base + key * stride + 2 * lane;
    float score = 0;
    float2 value[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      value[i] = make_float2(0, 0);
      if (!visible || !present[i]) continue;
      const float2 k = load_pair(key_cache + place + 2 * i * lanes);
      value[i] = load_pair(value_cache + place + 2 * i * lanes);
      score += q[i].x * k.x + q[i].y * k.y;
    }
    for (int other = lanes / 2; other > 0; other /= 2)
      score += __shfl_xor_sync(0xffffffffU, score, other);
    if (!visible) continue;
    const float new_maximum = fmaxf(maximum, score);
    const float rescale = exp2_fast(maximum - new_maximum), p = exp2_fast(score - new_maximum);
    maximum = new_maximum;
    sum = sum * rescale + p;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      output[i].x = output[i].x * rescale + p * value[i].x;
      output[i].y = output[i].y * rescale + p * value[i].y;
    }
  }

  maxima[group] = maximum;
  sums[group] = sum;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    if (!present[i]) continue;
    float* target = outputs + group * head_dim + 2 * (lane + i * lanes);
    target[0] = output[i].x;
    target[1] = output[i].y;
  }
  __syncthreads();
  if (threadIdx.x >= head_dim) return;
  for (int g = 0; g < groups; ++g) maximum = fmaxf(maximum, maxima[g]);
  float total = 0, result = 0;
  for (int g = 0; g < groups; ++g) {
    const float weight = exp2_fast(maxima[g] - maximum);
    total += sums[g] * weight;
    result += outputs[g * head_dim + threadIdx.x] * weight;
  }
  store_element(out + (row * shape.heads + head) * head_dim + threadIdx.x, result / total);
}

}  // namespace

void attention_cached(const Context& context, Tensor out, Tensor key_cache, Tensor value_cache,
                      Tensor qkv, Tensor sequences, Tensor positions, std::int64_t window,
                      const AttentionShape& shape) {
  if (out.size() == 0) return;
  shape.check();
  const CacheShape cache{.heads = static_cast<int>(shape.heads),
                         .kv_heads = static_cast<int>(shape.kv_heads),
                         .head_dim = static_cast<int>(shape.head_dim),
                         .capacity = key_cache.dim(1),
                         .window = window};
  int lanes = 1;
  while (lanes < 32 && 2 * lanes < cache.head_dim) lanes *= 2;
  const unsigned rows = grid_size(qkv.dim(0));
  const float scale = 1.0F / std::sqrt(static_cast<float>(cache.head_dim));
  dispatch_storage("attention_cached", qkv.dtype(), [&]<typename T>() {
    store_in_cache_kernel<<<rows, threads, 0, context.stream>>>(
        key_cache.as<T>(), value_cache.as<T>(), qkv.as<const T>(),
        sequences.as<const std::int32_t>(), positions.as<const std::int32_t>(), cache);
    MEMENGINE_LAUNCH_CHECK("attention_cached (store)");
    attention_cached_kernel<<<dim3(rows, cache.heads), threads, 0, context.stream>>>(
        out.as<T>(), key_cache.as<const T>(), value_cache.as<const T>(), qkv.as<const T>(),
        sequences.as<const std::int32_t>(), positions.as<const std::int32_t>(), lanes, scale,
        cache);
    MEMENGINE_LAUNCH_CHECK("attention_cached");
  });
}

}  // namespace memengine::cuda
