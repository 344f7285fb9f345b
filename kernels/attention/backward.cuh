// Attention backward on tensor cores, T = bfloat16 or float; deterministic: no atomics, every sum
// in one order.
//
// With p = exp(scale q k^T - log_sum_exp), delta = rowsum(dout * out):
//
//     dv = p^T dout;  ds = p * (dout v^T - delta);  dk = scale ds^T q;  dq = scale ds k
//
// dk and dv are sums over queries, dq is a sum over keys. Adding dq from many blocks would need
// atomics or an ordered hand-over, so two kernels each recompute p and ds and keep their own sums
// in registers: 7 products instead of 5.
//
// - key_value_gradient: a block owns a tile of keys of one key/value head and walks over the
//   queries of all query heads that share it. It works on transposed tiles, s^T = k q^T and
//   dp^T = v dout^T, keys along the rows: p^T and ds^T then leave the product in exactly the
//   registers where the next product wants its left operand, and nothing goes through shared
//   memory but the four input tiles.
// - query_gradient: a block owns a tile of queries, like the forward pass.
#pragma once

#include "kernels/attention/tiles.cuh"
#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda {
namespace backward {

// Rows that a warp owns: as many as the registers for two sums of width D allow (tile_plan.h).
template <typename T, int D>
constexpr int owned_per_warp = backward_rows_per_warp(sizeof(T), D);
template <typename T, int D>
constexpr int fragments = owned_per_warp<T, D> / 16;  // M
template <typename T, int D, int warps>
constexpr int owned_per_block = warps* owned_per_warp<T, D>;
// Of a streamed tile a warp handles this many rows at a time.
template <int tile>
constexpr int part_rows = tile < 32 ? tile : 32;

// A stage of streamed queries: two tiles and what each row needs besides.
template <typename T, int D, int tile>
struct alignas(16) QueryStage {
  T query[tile * row_pitch<T, D>];
  T dout[tile * row_pitch<T, D>];
  float log_sum_exp[tile];
  float delta[tile];
  std::int32_t first_visible[tile];
};
template <typename T, int D, int warps, int tile>
struct alignas(16) KeyValueShared {
  T key[owned_per_block<T, D, warps> * row_pitch<T, D>];
  T value[owned_per_block<T, D, warps> * row_pitch<T, D>];
  QueryStage<T, D, tile> stages[2];
};

// As mask_scores, keys along the rows; `lowest` has the first visible key of each query.
template <int M, int N>
__device__ inline void mask_transposed_scores(float (&scores)[M][N][4], const std::int32_t* lowest,
                                              int first_query, int first_key) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < N; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int column = n * 8 + lane % 4 * 2 + i;
      const int lowest_key = lowest[column];
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int key = first_key + m * 16 + half * 8 + lane / 4;
          if (key > first_query + column || key < lowest_key)
            scores[m][n][2 * half + i] = masked_score;
        }
    }
}

template <typename T, int D, int warps, int tile>
__global__ void __launch_bounds__(32 * warps, blocks_at_once<T, D>)
    attention_key_value_gradient_kernel(T* dqkv, const T* dout, const T* qkv,
                                        const float* log_sum_exp, const float* delta,
                                        AttentionProblem problem) {
  constexpr int threads = 32 * warps;
  constexpr int part = part_rows<tile>;
  constexpr int part_columns = part / 8;  // 8-wide fragments
  constexpr int block_owns = owned_per_block<T, D, warps>;
  constexpr int M = fragments<T, D>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<KeyValueShared<T, D, warps, tile>*>(shared_memory);

  const int length = problem.length, head_dim = problem.head_dim, group = problem.group();
  const int b = blockIdx.x / problem.kv_heads, kv_head = blockIdx.x % problem.kv_heads;
  const int block_key = blockIdx.y * block_owns;  // the first tiles have the most queries
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_key = block_key + warp * owned_per_warp<T, D>;
  const int stride = problem.qkv_stride(), out_stride = problem.out_stride();
  const std::int64_t key_offset = problem.qkv_offset(b, problem.heads + kv_head);
  const std::int64_t value_offset =
      problem.qkv_offset(b, problem.heads + problem.kv_heads + kv_head);

  const int query_begin = block_key / tile * tile;
  const int query_end = problem.query_end(b, min(block_key + block_owns, length));

  const auto load_stage = [&](QueryStage<T, D, tile>& stage, int head, int first) {
    load_rows_async<T, D, tile, threads>(stage.query, qkv + problem.qkv_offset(b, head), stride,
                                         first, length, head_dim);
    load_rows_async<T, D, tile, threads>(stage.dout, dout + problem.out_offset(b, head), out_stride,
                                         first, length, head_dim);
    if (threadIdx.x < tile) {
      const int i = threadIdx.x;
      const bool valid = first + i < length;
      const std::int64_t row = problem.row_offset(b, head) + (valid ? first + i : 0);
      copy_4_bytes_async(&stage.log_sum_exp[i], log_sum_exp + row, valid);
      copy_4_bytes_async(&stage.delta[i], delta + row, valid);
      stage.first_visible[i] = problem.first_key(b, first + i);
    }
  };
  load_rows_async<T, D, block_owns, threads>(shared.key, qkv + key_offset, stride, block_key,
                                             length, head_dim);
  load_rows_async<T, D, block_owns, threads>(shared.value, qkv + value_offset, stride, block_key,
                                             length, head_dim);
  load_stage(shared.stages[0], kv_head * group, query_begin);
  commit_copies();

  const int warp_offset = warp * owned_per_warp<T, D> * row_pitch<T, D>;
  const SharedRows<T, D> keys(shared.key + warp_offset), values(shared.value + warp_offset);

  const float c = problem.scale * log2_e;
  float dkey[M][D / 8][4] = {};
  float dvalue[M][D / 8][4] = {};
  const int head_end = (kv_head + 1) * group;
  int head = kv_head * group, tile_query = query_begin, current = 0;
  while (head < head_end) {
    wait_copies<0>();
    __syncthreads();
    const QueryStage<T, D, tile>& stage = shared.stages[current];
    current ^= 1;
    const bool last_tile = tile_query + tile >= query_end;  // of this head
    const int next_head = last_tile ? head + 1 : head;
    const int next_query = last_tile ? query_begin : tile_query + tile;
    if (next_head < head_end) {
      load_stage(shared.stages[current], next_head, next_query);
      commit_copies();
    }
#pragma unroll 1
    for (int first = 0; first < tile; first += part) {
      const int query = tile_query + first;
      if (query + part <= warp_key || query >= query_end) continue;  // nobody sees this warp's keys

      float p[M][part_columns][4];
      multiply_by_rows<T, D>(p, keys, stage.query + first * row_pitch<T, D>);
      if (query < warp_key + owned_per_warp<T, D> - 1 ||
          stage.first_visible[first + part - 1] > warp_key)
        mask_transposed_scores(p, stage.first_visible + first, query, warp_key);
#pragma unroll
      for (int n = 0; n < part_columns; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float offset = stage.log_sum_exp[first + n * 8 + lane % 4 * 2 + i] * log2_e;
#pragma unroll
          for (int m = 0; m < M; ++m) {
            p[m][n][i] = exp2_fast(p[m][n][i] * c - offset);
            p[m][n][i + 2] = exp2_fast(p[m][n][i + 2] * c - offset);
          }
        }
      accumulate_rows<T, D>(dvalue, p, stage.dout + first * row_pitch<T, D>);

      float ds[M][part_columns][4];
      multiply_by_rows<T, D>(ds, values, stage.dout + first * row_pitch<T, D>);
#pragma unroll
      for (int n = 0; n < part_columns; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const float row_delta = stage.delta[first + n * 8 + lane % 4 * 2 + i];
#pragma unroll
          for (int m = 0; m < M; ++m) {
            ds[m][n][i] = p[m][n][i] * (ds[m][n][i] - row_delta);
            ds[m][n][i + 2] = p[m][n][i + 2] * (ds[m][n][i + 2] - row_delta);
          }
        }
      accumulate_rows<T, D>(dkey, ds, stage.query + first * row_pitch<T, D>);
    }
    head = next_head;
    tile_query = next_query;
  }
  store_rows<T, D>(dqkv + key_offset, stride, warp_key, length, head_dim, dkey,
                   [&](int, int) { return problem.scale; });
  store_rows<T, D>(dqkv + value_offset, stride, warp_key, length, head_dim, dvalue,
                   [](int, int) { return 1.0F; });
}

template <typename T, int D, int tile>
struct alignas(16) KeyStage {
  T key[tile * row_pitch<T, D>];
  T value[tile * row_pitch<T, D>];
};
template <typename T, int D, int warps, int tile>
struct alignas(16) QueryShared {
  static constexpr int rows = narrow<T, D> ? 0 : owned_per_block<T, D, warps>;  // else in registers
  KeyStage<T, D, tile> stages[2];
  T query[rows * row_pitch<T, D> + 8];
  T dout[rows * row_pitch<T, D> + 8];
};

template <typename T, int D, int warps, int tile>
__global__ void __launch_bounds__(32 * warps, blocks_at_once<T, D>)
    attention_query_gradient_kernel(T* dqkv, const T* dout, const T* qkv, const float* log_sum_exp,
                                    const float* delta, AttentionProblem problem) {
  constexpr int threads = 32 * warps;
  constexpr int part = part_rows<tile>;
  constexpr int part_columns = part / 8;  // 8-wide fragments
  constexpr int block_owns = owned_per_block<T, D, warps>;
  constexpr int M = fragments<T, D>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<QueryShared<T, D, warps, tile>*>(shared_memory);

  const int length = problem.length, head_dim = problem.head_dim;
  const int b = blockIdx.x / problem.heads, head = blockIdx.x % problem.heads;
  const int kv_head = head / problem.group();
  const int block_row = (gridDim.y - 1 - blockIdx.y) * block_owns;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = block_row + warp * owned_per_warp<T, D>;
  const int stride = problem.qkv_stride();
  const T* k = qkv + problem.qkv_offset(b, problem.heads + kv_head);
  const T* v = qkv + problem.qkv_offset(b, problem.heads + problem.kv_heads + kv_head);

  const int key_begin = problem.first_key(b, block_row) / tile * tile;
  const int key_end = min(block_row + block_owns, length);
  const int warp_first = problem.first_key(b, warp_row);
  const int warp_common = problem.first_key(b, warp_row + owned_per_warp<T, D> - 1);

  const auto load_stage = [&](KeyStage<T, D, tile>& stage, int first) {
    load_rows_async<T, D, tile, threads>(stage.key, k, stride, first, length, head_dim);
    load_rows_async<T, D, tile, threads>(stage.value, v, stride, first, length, head_dim);
  };
  using Rows = std::conditional_t<narrow<T, D>, RegisterRows<T, D, M>, SharedRows<T, D>>;
  const T* q = qkv + problem.qkv_offset(b, head);
  const T* block_dout = dout + problem.out_offset(b, head);
  const int out_stride = problem.out_stride();
  const int warp_offset = warp * owned_per_warp<T, D> * row_pitch<T, D>;
  Rows queries(shared.query + warp_offset), douts(shared.dout + warp_offset);
  if constexpr (narrow<T, D>) {
    queries.load(q, stride, warp_row, length, head_dim);
    douts.load(block_dout, out_stride, warp_row, length, head_dim);
  } else {
    load_rows_async<T, D, block_owns, threads>(shared.query, q, stride, block_row, length,
                                               head_dim);
    load_rows_async<T, D, block_owns, threads>(shared.dout, block_dout, out_stride, block_row,
                                               length, head_dim);
  }
  load_stage(shared.stages[0], key_begin);
  commit_copies();

  float offset[M][2], row_delta[M][2];
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = min(warp_row + m * 16 + half * 8 + lane / 4, length - 1);
      offset[m][half] = log_sum_exp[problem.row_offset(b, head) + row] * log2_e;
      row_delta[m][half] = delta[problem.row_offset(b, head) + row];
    }

  const float c = problem.scale * log2_e;
  float dquery[M][D / 8][4] = {};
  int current = 0;
  for (int tile_first = key_begin; tile_first < key_end; tile_first += tile, current ^= 1) {
    wait_copies<0>();
    __syncthreads();
    const KeyStage<T, D, tile>& stage = shared.stages[current];
    if (tile_first + tile < key_end) {
      load_stage(shared.stages[current ^ 1], tile_first + tile);
      commit_copies();
    }
#pragma unroll 1
    for (int first = 0; first < tile; first += part) {
      const int part_key = tile_first + first;
      if (part_key >= warp_row + owned_per_warp<T, D> || part_key + part <= warp_first) continue;

      float p[M][part_columns][4], ds[M][part_columns][4];
      multiply_by_rows<T, D>(p, queries, stage.key + first * row_pitch<T, D>);
      multiply_by_rows<T, D>(ds, douts, stage.value + first * row_pitch<T, D>);
      if (part_key + part > warp_row + 1 || part_key < warp_common)
        mask_scores<false>(p, problem, b, warp_row, part_key);
#pragma unroll
      for (int m = 0; m < M; ++m)
#pragma unroll
        for (int n = 0; n < part_columns; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float probability = exp2_fast(p[m][n][i] * c - offset[m][i / 2]);
            ds[m][n][i] = probability * (ds[m][n][i] - row_delta[m][i / 2]);
          }
      accumulate_rows<T, D>(dquery, ds, stage.key + first * row_pitch<T, D>);
    }
  }
  store_rows<T, D>(dqkv + problem.qkv_offset(b, head), stride, warp_row, length, head_dim, dquery,
                   [&](int, int) { return problem.scale; });
}

template <typename T, int D, AttentionTiles tiles>
void launch(cudaStream_t stream, T* dqkv, const T* dout, const T* qkv, const float* log_sum_exp,
            const float* delta, const AttentionProblem& problem) {
  constexpr int warps = tiles.warps, tile = tiles.streamed;
  constexpr int block_owns = owned_per_block<T, D, warps>;
  const int blocks = (problem.length + block_owns - 1) / block_owns;
  const auto run = [&](auto kernel, int shared_bytes, int heads) {
    MEMENGINE_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
    kernel<<<dim3(problem.batch * heads, blocks), 32 * warps, shared_bytes, stream>>>(
        dqkv, dout, qkv, log_sum_exp, delta, problem);
    MEMENGINE_LAUNCH_CHECK("attention_backward");
  };
  constexpr std::size_t planned = backward_shared_bytes(sizeof(T), D, tiles);
  static_assert(sizeof(KeyValueShared<T, D, warps, tile>) <= planned);
  static_assert(sizeof(QueryShared<T, D, warps, tile>) <= planned);
  run(attention_key_value_gradient_kernel<T, D, warps, tile>,
      sizeof(KeyValueShared<T, D, warps, tile>), problem.kv_heads);
  run(attention_query_gradient_kernel<T, D, warps, tile>, sizeof(QueryShared<T, D, warps, tile>),
      problem.heads);
}

}  // namespace backward

template <typename T>
void attention_backward(cudaStream_t stream, T* dqkv, const T* dout, const T* qkv,
                        const float* log_sum_exp, const float* delta,
                        const AttentionProblem& problem) {
  dispatch_head_dim<T>(problem.head_dim, [&]<int D>() {
    dispatch_tiles<backward_tiles, T, D>(problem.block_shared_bytes, [&]<AttentionTiles tiles>() {
      backward::launch<T, D, tiles>(stream, dqkv, dout, qkv, log_sum_exp, delta, problem);
    });
  });
}
}  // namespace memengine::cuda
