// The product-key lookup on the GPU: a batched matrix product, then one kernel that selects.
//
// Scores of a chunk of tokens, [2 H, tokens, n], go to scratch memory; the chunk is small enough
// that they stay in the L2 cache between the two.
//
// Selecting 32 of n scores, one warp a (token, head, half):
//   1. Cut the row in 64 groups, two a lane, and take each group's maximum. The 32nd largest of
//      these maxima is a bar that at least 32 scores reach, and for scores in no special order only
//      about 44 do, whatever n is (32 of 64 groups hit by random draws).
//   2. Lanes mark the scores that reach the bar; only those become keys, are sorted and merged.
// A row of up to 1024 scores is read once and stays in registers.
//
// Then one warp a (token, head) combines the sorted halves: of the 32 x 32 pairs only those 119
// with (a + 1)(b + 1) <= 32 can win, the first 32 of them (a = 0) are sorted already, and the best
// of row and column 0 give a bar for the rest. Softmax follows in the same registers.
#include <array>

#include "kernels/linear/gemm.cuh"
#include "kernels/product_key/best.cuh"
#include "kernels/product_key/problem.cuh"

namespace memengine::cuda {
namespace product_key {
namespace {

constexpr std::int64_t chunk_score_bytes = std::int64_t{32} << 20;
constexpr int lookups_per_block = 2;
constexpr int lookup_threads = lookups_per_block * 2 * warp_size;

constexpr int count_pairs(int knn) {
  int count = 0;
  for (int a = 1; a < knn; ++a) count += knn / (a + 1);
  return count;
}

// The pairs (a, b) with a >= 1 and (a + 1)(b + 1) <= knn, as a * 256 + b.
template <int knn>
struct Pairs {
  std::uint16_t pair[count_pairs(knn)];
};

template <int knn>
constexpr Pairs<knn> make_pairs() {
  Pairs<knn> pairs{};
  int count = 0;
  for (int a = 1; a < knn; ++a) {
    for (int b = 0; (a + 1) * (b + 1) <= knn; ++b) {
      pairs.pair[count++] = static_cast<std::uint16_t>(a * 256 + b);
    }
  }
  return pairs;
}

__device__ const Pairs<32> pairs_of_32 = make_pairs<32>();
__device__ const Pairs<64> pairs_of_64 = make_pairs<64>();
__device__ const Pairs<128> pairs_of_128 = make_pairs<128>();

template <int knn>
__device__ __forceinline__ std::uint32_t candidate_pair(int i) {
  if constexpr (knn == 32)
    return pairs_of_32.pair[i];
  else if constexpr (knn == 64)
    return pairs_of_64.pair[i];
  else
    return pairs_of_128.pair[i];
}

// Four scores a register group: x[4 j + i] = scores[first + (32 j + lane) 4 + i], -inf past the
// end.
template <int vectors>
__device__ __forceinline__ void load_tile(float (&x)[vectors * 4], const float* scores, int first,
                                          int count, int lane) {
#pragma unroll
  for (int j = 0; j < vectors; ++j) {
    const int place = first + (j * warp_size + lane) * 4;
    float4 four = make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
    if (place < count) {
      four = *reinterpret_cast<const float4*>(scores + place);
      if (place + 1 >= count) four.y = -INFINITY;
      if (place + 2 >= count) four.z = -INFINITY;
      if (place + 3 >= count) four.w = -INFINITY;
    }
    x[4 * j] = four.x;
    x[4 * j + 1] = four.y;
    x[4 * j + 2] = four.z;
    x[4 * j + 3] = four.w;
  }
}

// best.keys = the 32 R best of `count` scores. The row is 16-byte aligned and readable up to the
// next multiple of four.
template <int R, int vectors>
__device__ __forceinline__ void best_of_row(Best<R>& best, const float* scores, int count,
                                            int lane) {
  constexpr int tile = vectors * 4 * warp_size;
  constexpr int groups = 2 * R;  // a lane
  float x[vectors * 4];
  float upper[R];  // maxima of the first R groups, and of the others
  float lower[R];
#pragma unroll
  for (int r = 0; r < R; ++r) upper[r] = lower[r] = -INFINITY;
  for (int first = 0; first < count; first += tile) {
    load_tile<vectors>(x, scores, first, count, lane);
#pragma unroll
    for (int i = 0; i < vectors * 4; ++i) {
      constexpr int group_size = vectors * 4 / groups;
      const int group = i / group_size;
      if (group < R)
        upper[group] = fmaxf(upper[group], x[i]);
      else
        lower[group - R] = fmaxf(lower[group - R], x[i]);
    }
  }
  sort_descending(upper, lane);
  sort_descending(lower, lane);
  keep_larger(upper, lower);
  float bar = upper[0];
#pragma unroll
  for (int r = 1; r < R; ++r) bar = fminf(bar, upper[r]);
#pragma unroll
  for (int offset = warp_size / 2; offset > 0; offset /= 2) {
    bar = fminf(bar, __shfl_xor_sync(all_lanes, bar, offset));
  }

  const Key none[R] = {};
  best.start(none, 0);
  for (int first = 0; first < count; first += tile) {
    if (count > tile) load_tile<vectors>(x, scores, first, count, lane);
    unsigned marked = 0;
#pragma unroll
    for (int i = 0; i < vectors * 4; ++i) {
      if (!(x[i] < bar)) marked |= 1U << i;
    }
    if (first + tile > count) {
#pragma unroll
      for (int j = 0; j < vectors; ++j) {
        const int valid = max(0, min(4, count - first - (j * warp_size + lane) * 4));
        marked &= ~(((15U << valid) & 15U) << (4 * j));
      }
    }
    while (__any_sync(all_lanes, marked != 0)) {
      const int i = max(0, __ffs(static_cast<int>(marked)) - 1);
      const int place = first + ((i / 4) * warp_size + lane) * 4 + i % 4;
      const bool given = marked != 0;
      const float score = given ? scores[place] : 0.0F;
      marked &= marked - 1;
      best.offer(given, make_key(score, static_cast<std::uint32_t>(place)));
    }
  }
  best.finish();
}

__device__ __forceinline__ PairKey pair_key(const Key* first, const Key* second, int a, int b,
                                            std::uint32_t n_keys) {
  return make_pair(score_of(first[a]), score_of(second[b]),
                   index_of(first[a]) * n_keys + index_of(second[b]));
}

// best.keys = the best pairs of two sorted halves, of which knn are given.
template <int R>
__device__ __forceinline__ void best_pairs(Best<R, PairKey>& best, const Key* first,
                                           const Key* second, int knn, std::uint32_t n_keys,
                                           int lane) {
  // Row 0 is sorted. Of it and column 0 the knn best give a bar, as two sorted lists do.
  PairKey row[R];
  std::uint32_t bar = 0xffffffffU;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int i = r * warp_size + lane;
    row[r] = PairKey{};
    if (i < knn) {
      row[r] = pair_key(first, second, 0, i, n_keys);
      const PairKey column = i == 0 ? PairKey{} : pair_key(first, second, knn - i, 0, n_keys);
      bar = min(bar, score_bits(larger(row[r], column)));
    }
  }
  bar = __reduce_min_sync(all_lanes, bar);
  best.start(row, PairKey{(static_cast<Key>(bar) << 32) - 1, 0xffffffffU});
  constexpr int pairs = count_pairs(R * warp_size);
#pragma unroll 1
  for (int i = lane; i < ceil_divide(pairs, warp_size) * warp_size; i += warp_size) {
    const std::uint32_t pair = candidate_pair<R * warp_size>(min(i, pairs - 1));
    const int a = static_cast<int>(pair / 256);
    const int b = static_cast<int>(pair % 256);
    const bool given = i < pairs && (a + 1) * (b + 1) <= knn;
    best.offer(given, given ? pair_key(first, second, a, b, n_keys) : PairKey{});
  }
  best.finish();
}

// scores [2 H, tokens, row_distance] -> indices, weights [tokens, H, knn]. Of a block's four warps
// each selects one half of one of two lookups; then the first two combine.
template <typename T, int R, int vectors>
__global__ void __launch_bounds__(lookup_threads)
    lookup_kernel(std::int32_t* indices, T* weights, const float* scores, int tokens, int heads,
                  int knn, int n_keys, int row_distance) {
  __shared__ Key halves[lookups_per_block][2][R * warp_size];
  __shared__ PairKey buffers[lookups_per_block * 2][Best<R>::buffer_keys];
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int lookup_here = warp % lookups_per_block;
  const int half = warp / lookups_per_block;
  const std::int64_t lookup = std::int64_t{blockIdx.x} * lookups_per_block + lookup_here;
  const std::int64_t token = lookup / heads;
  const int head = static_cast<int>(lookup % heads);
  if (token < tokens) {
    Best<R> best(reinterpret_cast<Key*>(buffers[warp]), lane);
    best_of_row<R, vectors>(
        best, scores + ((head * 2 + half) * std::int64_t{tokens} + token) * row_distance, n_keys,
        lane);
#pragma unroll
    for (int r = 0; r < R; ++r) halves[lookup_here][half][r * warp_size + lane] = best.keys[r];
  }
  __syncthreads();
  if (half != 0 || token >= tokens) return;

  Best<R, PairKey> best(buffers[warp], lane);
  best_pairs<R>(best, halves[lookup_here][0], halves[lookup_here][1], knn,
                static_cast<std::uint32_t>(n_keys), lane);
  const float top = score_of(shuffle(best.keys[0], 0));
  float weight[R];
  float sum = 0;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    weight[r] = r * warp_size + lane < knn ? expf(score_of(best.keys[r]) - top) : 0.0F;
    sum += weight[r];
  }
  sum = warp_sum(sum);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const int i = r * warp_size + lane;
    if (i >= knn) continue;
    indices[lookup * knn + i] = static_cast<std::int32_t>(index_of(best.keys[r]));
    const float normalised[1] = {weight[r] / sum};
    store(weights + lookup * knn + i, normalised);
  }
}

std::int64_t score_distance(std::int64_t n_keys) {
  return ceil_divide(n_keys, 4) * 4;
}

// As many tokens as the L2 cache holds scores of; a multiple of the matrix product's tiles.
std::int64_t chunk_tokens(const ProductKeyShape& shape) {
  const std::int64_t token_bytes = 2 * shape.heads * score_distance(shape.n_keys) * 4;
  const std::int64_t tokens =
      std::max<std::int64_t>(128, chunk_score_bytes / token_bytes / 128 * 128);
  return std::min(tokens, shape.tokens);
}

// scores [2 H, tokens, distance] = query halves times sub-keys.
void score(const Context& context, const ProductKeyShape& shape, float* scores, Tensor query,
           Tensor sub_keys, std::int64_t tokens) {
  const std::int64_t half_dim = shape.k_dim / 2;
  const std::int64_t distance = score_distance(shape.n_keys);
  const std::int64_t bytes = element_bytes(shape.dtype);
  Matrix out{scores, DType::f32, tokens, shape.n_keys, distance, tokens * distance};
  Matrix a{query.data(), shape.dtype, tokens, half_dim, shape.heads * shape.k_dim, half_dim};
  Matrix b{sub_keys.data(), shape.dtype, shape.n_keys, half_dim, half_dim, shape.n_keys * half_dim};
  const std::int64_t products = 2 * shape.heads;
  if (half_dim * bytes % 16 == 0) {
    gemm(context, out, a, b, {.transpose_b = true, .batch = products});
    return;
  }
  // Halves that are not all aligned alike are separate products.
  const auto advance = [](Matrix& matrix) {
    matrix.data =
        static_cast<std::byte*>(matrix.data) + matrix.matrix_distance * element_bytes(matrix.dtype);
  };
  for (std::int64_t i = 0; i < products; ++i) {
    gemm(context, out, a, b, {.transpose_b = true});
    advance(out);
    advance(a);
    advance(b);
  }
}

}  // namespace

std::int64_t forward_scratch_bytes(const ProductKeyShape& shape) {
  return scratch_part<float>(2 * shape.heads * chunk_tokens(shape) * score_distance(shape.n_keys));
}

}  // namespace product_key

void product_key_forward(const Context& context, Tensor indices, Tensor weights, Tensor query,
                         Tensor sub_keys) {
  using namespace product_key;
  const ProductKeyShape shape = checked_shape(indices, query, sub_keys);
  if (shape.tokens == 0) return;
  if (is_fused(context, shape)) {
    if constexpr (MEMENGINE_HAS_HOPPER) {
      product_key::hopper::forward(context, shape, indices, weights, query, sub_keys);
    }
    return;
  }
  const std::int64_t distance = score_distance(shape.n_keys);
  const std::int64_t chunk = chunk_tokens(shape);
  Scratch scratch(context);
  float* scores = scratch.take<float>(2 * shape.heads * chunk * distance);
  for (std::int64_t first = 0; first < shape.tokens; first += chunk) {
    const std::int64_t tokens = std::min(chunk, shape.tokens - first);
    score(context, shape, scores, query.rows(first, tokens), sub_keys, tokens);
    dispatch_storage("product_key_forward", shape.dtype, [&]<typename T>() {
      const auto launch = [&]<int R, int vectors>() {
        lookup_kernel<T, R, vectors>
            <<<grid_size(ceil_divide(tokens * shape.heads, lookups_per_block)), lookup_threads, 0,
               context.stream>>>(indices.rows(first, tokens).as<std::int32_t>(),
                                 weights.rows(first, tokens).as<T>(), scores,
                                 static_cast<int>(tokens), static_cast<int>(shape.heads),
                                 static_cast<int>(shape.knn), static_cast<int>(shape.n_keys),
                                 static_cast<int>(distance));
      };
      if (shape.knn > 64)
        launch.template operator()<4, 8>();
      else if (shape.knn > 32)
        launch.template operator()<2, 8>();
      else if (shape.n_keys <= 256)
        launch.template operator()<1, 2>();
      else if (shape.n_keys <= 512)
        launch.template operator()<1, 4>();
      else
        launch.template operator()<1, 8>();
    });
    MEMENGINE_LAUNCH_CHECK("product_key_forward");
  }
}

}  // namespace memengine::cuda
