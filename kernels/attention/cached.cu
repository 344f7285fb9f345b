// Decoding with a key/value cache: a block per query row and head, keys spread over groups of
// lanes.
//
// A group is the smallest power of two of lanes that holds a head, 16 bytes per lane (pairs of
// elements, two per lane for heads wider than 64, where rows do not come in pieces of 16 bytes).
// Each group walks over its own keys with a running maximum and sum, two keys per turn: a row of
// the cache takes most of a microsecond to come, so what counts is how many are under way. At the
// end the block merges the groups in their order. Bound by reading the cache: 2 (p + 1) head_dim
// elements per row and head, of which query heads that share a key/value head find their copies in
// L2.
#include "kernels/attention/problem.cuh"
#include "kernels/attention/tensor_core.cuh"
#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int cache_threads = 256;
constexpr float nothing_seen = -1e30F;  // finite: the difference of two of them is zero, not NaN

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

CacheShape cache_shape(const Tensor& key_cache, std::int64_t window, const AttentionShape& shape) {
  return {.heads = static_cast<int>(shape.heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .head_dim = static_cast<int>(shape.head_dim),
          .capacity = key_cache.dim(1),
          .window = window};
}

template <typename T, int width>
__global__ void __launch_bounds__(cache_threads)
    store_in_cache_kernel(T* key_cache, T* value_cache, const T* qkv, const std::int32_t* sequences,
                          const std::int32_t* positions, CacheShape shape) {
  const std::int64_t row = blockIdx.x;
  const int columns = shape.kv_heads * shape.head_dim;
  const T* keys = qkv + row * (shape.heads + 2 * shape.kv_heads) * shape.head_dim +
                  std::int64_t{shape.heads} * shape.head_dim;
  const std::int64_t place = (sequences[row] * shape.capacity + positions[row]) * columns;
  for (int i = threadIdx.x * width; i < columns; i += cache_threads * width) {
    const Pack<T, width> key = load<width>(keys + i), value = load<width>(keys + columns + i);
    *reinterpret_cast<Pack<T, width>*>(key_cache + place + i) = key;
    *reinterpret_cast<Pack<T, width>*>(value_cache + place + i) = value;
  }
}

// One key with its value, as a lane holds them.
template <int width, int pieces>
struct KeyValue {
  float key[pieces][width], value[pieces][width];
};

// lanes: of a group; lane l holds the pieces l and l + lanes (if there are two) of a head, each of
// `width` elements.
template <typename T, int width, int pieces>
__global__ void __launch_bounds__(cache_threads)
    attention_cached_kernel(T* out, const T* key_cache, const T* value_cache, const T* qkv,
                            const std::int32_t* sequences, const std::int32_t* positions, int lanes,
                            float scale, CacheShape shape) {
  __shared__ float maxima[cache_threads], sums[cache_threads];  // [groups]
  __shared__ float outputs[cache_threads * width * pieces];     // [groups, head_dim]

  const std::int64_t row = blockIdx.x;
  const int head = blockIdx.y, head_dim = shape.head_dim;
  const int kv_head = head / (shape.heads / shape.kv_heads);
  const int groups = cache_threads / lanes, group = threadIdx.x / lanes, lane = threadIdx.x % lanes;
  const std::int64_t stride = std::int64_t{shape.kv_heads} * head_dim;
  const std::int64_t base =
      sequences[row] * shape.capacity * stride + std::int64_t{kv_head} * head_dim;
  const int last = positions[row];
  const int first =
      shape.window > 0 ? static_cast<int>(max(last - shape.window + 1, std::int64_t{0})) : 0;

  const T* query = qkv + (row * (shape.heads + 2 * shape.kv_heads) + head) * head_dim;
  bool present[pieces];
  float q[pieces][width] = {}, output[pieces][width] = {};
#pragma unroll
  for (int piece = 0; piece < pieces; ++piece) {
    const int column = width * (lane + piece * lanes);
    present[piece] = column < head_dim;
    if (!present[piece]) continue;
    load(query + column, q[piece]);
#pragma unroll
    for (int i = 0; i < width; ++i) q[piece][i] *= scale * log2_e;
  }
  const auto fetch = [&](int key) {
    KeyValue<width, pieces> fetched = {};
#pragma unroll
    for (int piece = 0; piece < pieces; ++piece) {
      if (key > last || !present[piece]) continue;
      const std::int64_t place = base + key * stride + width * (lane + piece * lanes);
      load(key_cache + place, fetched.key[piece]);
      load(value_cache + place, fetched.value[piece]);
    }
    return fetched;
  };
  // The score of the group's key, for all of its lanes.
  const auto score_of = [&](const KeyValue<width, pieces>& fetched) {
    float score = 0;
#pragma unroll
    for (int piece = 0; piece < pieces; ++piece) {
#pragma unroll
      for (int i = 0; i < width; ++i) score += q[piece][i] * fetched.key[piece][i];
    }
    for (int other = lanes / 2; other > 0; other /= 2)
      score += __shfl_xor_sync(0xffffffffU, score, other);
    return score;
  };

  float maximum = nothing_seen, sum = 0;
  const auto take = [&](int key, float score, const KeyValue<width, pieces>& fetched) {
    if (key > last) return;
    const float new_maximum = fmaxf(maximum, score);
    const float rescale = exp2_fast(maximum - new_maximum), p = exp2_fast(score - new_maximum);
    maximum = new_maximum;
    sum = sum * rescale + p;
#pragma unroll
    for (int piece = 0; piece < pieces; ++piece) {
#pragma unroll
      for (int i = 0; i < width; ++i) {
        output[piece][i] = output[piece][i] * rescale + p * fetched.value[piece][i];
      }
    }
  };
  // All lanes of a warp make the same number of turns: the sums over a group are shuffles.
  for (int turn = first; turn <= last; turn += 2 * groups) {
    const int key = turn + group;
    const KeyValue<width, pieces> one = fetch(key), other = fetch(key + groups);
    const float one_score = score_of(one), other_score = score_of(other);
    take(key, one_score, one);
    take(key + groups, other_score, other);
  }

  maxima[group] = maximum;
  sums[group] = sum;
#pragma unroll
  for (int piece = 0; piece < pieces; ++piece) {
    if (!present[piece]) continue;
    float* target = outputs + group * head_dim + width * (lane + piece * lanes);
#pragma unroll
    for (int i = 0; i < width; ++i) target[i] = output[piece][i];
  }
  __syncthreads();
  if (threadIdx.x >= head_dim) return;
  const int seen = min(groups, last - first + 1);  // groups that had a key
  for (int g = 0; g < seen; ++g) maximum = fmaxf(maximum, maxima[g]);
  float total = 0, result = 0;
  for (int g = 0; g < seen; ++g) {
    const float weight = exp2_fast(maxima[g] - maximum);
    total += sums[g] * weight;
    result += outputs[g * head_dim + threadIdx.x] * weight;
  }
  store_element(out + (row * shape.heads + head) * head_dim + threadIdx.x, result / total);
}

}  // namespace

void store_in_cache(const Context& context, Tensor key_cache, Tensor value_cache, Tensor qkv,
                    Tensor sequences, Tensor positions, const AttentionShape& shape) {
  if (qkv.size() == 0) return;
  const CacheShape cache = cache_shape(key_cache, 0, shape);
  dispatch_storage("store_in_cache", qkv.dtype(), [&]<typename T>() {
    const auto store = [&]<int width>() {
      store_in_cache_kernel<T, width><<<grid_size(qkv.dim(0)), cache_threads, 0, context.stream>>>(
          key_cache.as<T>(), value_cache.as<T>(), qkv.as<const T>(),
          sequences.as<const std::int32_t>(), positions.as<const std::int32_t>(), cache);
    };
    if (in_vectors<T>(cache.head_dim, {key_cache.data(), value_cache.data(), qkv.data()}))
      store.template operator()<vector_width<T>>();
    else
      store.template operator()<2>();
  });
  MEMENGINE_LAUNCH_CHECK("store_in_cache");
}

void attention_cached(const Context& context, Tensor out, Tensor key_cache, Tensor value_cache,
                      Tensor qkv, Tensor sequences, Tensor positions, std::int64_t window,
                      const AttentionShape& shape) {
  if (out.size() == 0) return;
  shape.check();
  const CacheShape cache = cache_shape(key_cache, window, shape);
  const unsigned rows = grid_size(qkv.dim(0));
  const float scale = 1.0F / std::sqrt(static_cast<float>(cache.head_dim));
  dispatch_storage("attention_cached", qkv.dtype(), [&]<typename T>() {
    const auto attend = [&]<int width, int pieces>() {
      int lanes = 1;
      while (lanes < warp_size && width * lanes < cache.head_dim) lanes *= 2;
      attention_cached_kernel<T, width, pieces>
          <<<dim3(rows, cache.heads), cache_threads, 0, context.stream>>>(
              out.as<T>(), key_cache.as<const T>(), value_cache.as<const T>(), qkv.as<const T>(),
              sequences.as<const std::int32_t>(), positions.as<const std::int32_t>(), lanes, scale,
              cache);
    };
    if (in_vectors<T>(cache.head_dim, {key_cache.data(), value_cache.data(), qkv.data()}))
      attend.template operator()<vector_width<T>, 1>();
    else
      attend.template operator()<2, 2>();
  });
  MEMENGINE_LAUNCH_CHECK("attention_cached");
}

}  // namespace memengine::cuda
