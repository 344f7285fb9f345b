// Third rung, FlashAttention's (Dao et al. 2022): a block has 64 queries of a head, and reads 64
// keys and values at a time into shared memory, where all its queries use them.
//
// Four neighbouring lanes have a query. Of a tile each takes the scores of 16 keys; all four agree
// on the largest, leave their exponentials in shared memory, and then each sums 16 of the 64
// columns of the values.
#include "kernels/device_math.cuh"
#include "kernels/ladders/attention/qkv.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int tile_tokens = 64;
constexpr int tile_head_dim = 64;
constexpr int query_lanes = 4;
constexpr int tile_threads = tile_tokens * query_lanes;
constexpr int share = 16;  // of a lane, of 64 keys or columns

// A row of two elements more than it needs: rows then begin in different banks.
using Tile = bfloat16[tile_tokens][tile_head_dim + 2];

__device__ __forceinline__ void load_tokens(Tile& to, const bfloat16* rows, std::int64_t stride,
                                            int first, int length) {
  for (int i = static_cast<int>(threadIdx.x); i < tile_tokens * tile_head_dim; i += tile_threads) {
    const int token = i / tile_head_dim, d = i % tile_head_dim;
    to[token][d] = first + token < length ? rows[(first + token) * stride + d] : to_bfloat16(0.0F);
  }
}

__global__ void __launch_bounds__(tile_threads) tiles_kernel(Heads<bfloat16> heads) {
  __shared__ Tile queries, keys, values;
  __shared__ float weights[tile_tokens][tile_tokens + 1];
  const HeadView<bfloat16> head = heads.view(blockIdx.y);
  const int first_query = static_cast<int>(blockIdx.x) * tile_tokens;
  const int query = static_cast<int>(threadIdx.x) / query_lanes;
  const int lane = static_cast<int>(threadIdx.x) % query_lanes;
  const auto over_lanes = [](float x, auto both) {
    for (int offset = 1; offset < query_lanes; offset *= 2) {
      x = both(x, __shfl_xor_sync(0xffffffffU, x, offset));
    }
    return x;
  };
  load_tokens(queries, head.query, head.stride, first_query, head.length);
  float sum[share] = {};
  float largest = -INFINITY, total = 0;
  for (int first_key = 0; first_key <= first_query; first_key += tile_tokens) {
    __syncthreads();  // all have used the last keys and values
    load_tokens(keys, head.key, head.stride, first_key, head.length);
    load_tokens(values, head.value, head.stride, first_key, head.length);
    __syncthreads();
    float score[share] = {};
    for (int d = 0; d < tile_head_dim; ++d) {
      const float q = to_float(queries[query][d]);
#pragma unroll
      for (int i = 0; i < share; ++i) score[i] += q * to_float(keys[lane + i * query_lanes][d]);
    }
    const float before = largest;
#pragma unroll
    for (int i = 0; i < share; ++i) {
      const bool seen = first_key + lane + i * query_lanes <= first_query + query;
      score[i] = seen ? score[i] * head.scale : -INFINITY;
      largest = fmaxf(largest, score[i]);
    }
    largest = over_lanes(largest, [](float a, float b) { return fmaxf(a, b); });
    const float shrink = expf(before - largest);
    total *= shrink;
#pragma unroll
    for (int i = 0; i < share; ++i) {
      const float p = expf(score[i] - largest);
      total += p;
      weights[query][lane + i * query_lanes] = p;
    }
    __syncwarp();  // a query's weights are its own lanes'
#pragma unroll
    for (int i = 0; i < share; ++i) sum[i] *= shrink;
    for (int key = 0; key < tile_tokens; ++key) {
      const float p = weights[query][key];
#pragma unroll
      for (int i = 0; i < share; ++i) sum[i] += p * to_float(values[key][lane + i * query_lanes]);
    }
  }
  total = over_lanes(total, [](float a, float b) { return a + b; });
  const int t = first_query + query;
  if (t >= head.length) return;
  for (int i = 0; i < share; ++i) {
    head.out[t * head.out_stride + lane + i * query_lanes] = to_bfloat16(sum[i] / total);
  }
  if (lane == 0) head.log_sum_exp[t] = largest + logf(total);
}

}  // namespace

void tiles(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
           const AttentionShape& shape) {
  if (shape.head_dim != tile_head_dim) {
    fail_internal("the rung `tiles` takes heads of {}, not {}", tile_head_dim, shape.head_dim);
  }
  const Heads<bfloat16> heads(out, log_sum_exp, qkv, shape);
  const dim3 grid(grid_size(ceil_divide(heads.length, tile_tokens)),
                  static_cast<unsigned>(qkv.dim(0) * shape.heads));
  tiles_kernel<<<grid, tile_threads, 0, context.stream>>>(heads);
  MEMENGINE_LAUNCH_CHECK("ladders: tiles");
}

}  // namespace memengine::ladders::cuda
