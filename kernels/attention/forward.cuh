// Attention forward on tensor cores (FlashAttention-2, Dao 2023), T = bfloat16 or float.
//
// One block computes a tile of query rows of one head, 16 * M rows per warp. Tiles of keys and
// values stream through two shared-memory stages (cp.async); each warp multiplies its queries by
// the keys, turns scores into probabilities relative to a reference r of each row, and adds
// probabilities times values to its output, all in registers:
//
//     s = q k^T;  p = 2^(c s - r);  l += sum p;  o += p v          with c = scale * log2(e)
//     at the end: o / l, log_sum_exp = ln(2) (r + log2 l)
//
// The usual r is the running maximum, but any r that keeps p in the range of floats gives the same
// result. So r is the maximum of the row's first tile, and is raised (o and l rescaled) only when a
// tile's sum passes 2^60: the maximum costs nothing where it is not needed. Masked scores are a
// huge finite negative number: a row that has seen only masked keys has a hugely negative r and
// gathers garbage, which the raise that the first real score enforces multiplies by zero.
//
// M = 2 where the registers allow it: every key fragment read from shared memory then feeds two
// products; with 16 rows per warp shared memory, not the tensor cores, would be the limit. Blocks
// with the most keys start first.
#pragma once

#include "kernels/attention/tiles.cuh"
#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda {
namespace forward {

constexpr float largest_sum = 0x1p60F;

// Narrow heads keep their queries in registers, wide ones in shared memory (tile_plan.h).
template <typename T, int D>
constexpr int rows_per_warp = forward_rows_per_warp(sizeof(T), D);
template <typename T, int D>
constexpr int fragments = rows_per_warp<T, D> / 16;  // M
template <typename T, int D, int warps>
constexpr int rows_per_block = warps* rows_per_warp<T, D>;

// What a lane knows of its rows: two in each 16-row fragment.
template <int M>
struct RowState {
  float reference[M][2];  // in powers of two
  float sum[M][2];        // of this lane's columns only; the quad adds up at the end
};

// Makes each row's reference at least the maximum of its scores, and rescales sum and output.
template <int D, int M, int key_columns>
__device__ inline void raise_reference(const float (&scores)[M][key_columns][4],
                                       float (&output)[M][D / 8][4], RowState<M>& rows, float c) {
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float maximum = masked_score;
#pragma unroll
      for (int n = 0; n < key_columns; ++n)
        maximum = fmaxf(maximum, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
      maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffU, maximum, 1));
      maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffU, maximum, 2));
      const float reference = fmaxf(rows.reference[m][half], maximum * c);
      const float rescale = exp2_fast(rows.reference[m][half] - reference);
      rows.reference[m][half] = reference;
      rows.sum[m][half] *= rescale;
#pragma unroll
      for (int n = 0; n < D / 8; ++n) {
        output[m][n][2 * half] *= rescale;
        output[m][n][2 * half + 1] *= rescale;
      }
    }
}

// Replaces scores by 2^(c score - reference); false if a sum has grown too large.
template <int M, int key_columns>
__device__ inline bool exponentials(float (&scores)[M][key_columns][4], float (&sums)[M][2],
                                    const RowState<M>& rows, float c) {
  bool in_range = true;
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float sum = 0;
#pragma unroll
      for (int n = 0; n < key_columns; ++n)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; ++i) {
          scores[m][n][i] = exp2_fast(scores[m][n][i] * c - rows.reference[m][half]);
          sum += scores[m][n][i];
        }
      sums[m][half] = sum;
      in_range &= sum <= largest_sum;
    }
  return __all_sync(0xffffffffU, in_range);
}

template <typename T, int D, int warps, int key_tile, bool hides>
__global__ void __launch_bounds__(32 * warps, blocks_at_once<T, D>)
    attention_forward_kernel(T* out, float* log_sum_exp, const T* qkv, AttentionProblem problem) {
  constexpr int threads = 32 * warps;
  constexpr int key_columns = key_tile / 8;  // 8-wide fragments
  constexpr int block_rows = rows_per_block<T, D, warps>;
  constexpr int M = fragments<T, D>;
  constexpr int stage_elements = key_tile * row_pitch<T, D>;
  extern __shared__ __align__(16) unsigned char shared_memory[];
  T* key_stages = reinterpret_cast<T*>(shared_memory);
  T* value_stages = key_stages + 2 * stage_elements;
  T* query_rows = value_stages + 2 * stage_elements;

  const int length = problem.length, head_dim = problem.head_dim;
  const int b = blockIdx.x / problem.heads, head = blockIdx.x % problem.heads;
  const int kv_head = head / problem.group();
  const int block_row = (gridDim.y - 1 - blockIdx.y) * block_rows;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int warp_row = block_row + warp * rows_per_warp<T, D>;
  const int stride = problem.qkv_stride();
  const T* q = qkv + problem.qkv_offset(b, head);
  const T* k = qkv + problem.qkv_offset(b, problem.heads + kv_head);
  const T* v = qkv + problem.qkv_offset(b, problem.heads + problem.kv_heads + kv_head);

  const int key_begin = problem.first_key(b, block_row) / key_tile * key_tile;
  const int key_end = min(block_row + block_rows, length);
  // No row of this warp sees keys below `warp_first`; some rows see none below `warp_common`.
  const int warp_first = problem.first_key(b, warp_row);
  const int warp_common = problem.first_key(b, warp_row + rows_per_warp<T, D> - 1);

  const auto load_stage = [&](int stage, int first) {
    load_rows_async<T, D, key_tile, threads>(key_stages + stage * stage_elements, k, stride, first,
                                             length, head_dim);
    load_rows_async<T, D, key_tile, threads>(value_stages + stage * stage_elements, v, stride,
                                             first, length, head_dim);
  };
  using Queries = std::conditional_t<narrow<T, D>, RegisterRows<T, D, M>, SharedRows<T, D>>;
  Queries queries(query_rows + warp * rows_per_warp<T, D> * row_pitch<T, D>);
  if constexpr (narrow<T, D>)
    queries.load(q, stride, warp_row, length, head_dim);
  else
    load_rows_async<T, D, block_rows, threads>(query_rows, q, stride, block_row, length, head_dim);
  load_stage(0, key_begin);
  commit_copies();

  const float c = problem.scale * log2_e;
  float output[M][D / 8][4] = {};
  RowState<M> rows;
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      rows.reference[m][half] = masked_score;
      rows.sum[m][half] = 0;
    }

  int stage = 0;
  bool raise = true;
  for (int first = key_begin; first < key_end; first += key_tile, stage ^= 1) {
    wait_copies<0>();
    __syncthreads();  // the tile is there, and nobody reads the other stage any more
    if (first + key_tile < key_end) {
      load_stage(stage ^ 1, first + key_tile);
      commit_copies();
    }
    if (first >= warp_row + rows_per_warp<T, D> || first + key_tile <= warp_first) continue;

    float scores[M][key_columns][4], sums[M][2];
    while (true) {
      multiply_by_rows<T, D>(scores, queries, key_stages + stage * stage_elements);
      if (hides || first + key_tile > warp_row + 1 || first < warp_common)
        mask_scores<hides>(scores, problem, b, warp_row, first);
      if (raise) raise_reference<D>(scores, output, rows, c);
      const bool in_range = exponentials(scores, sums, rows, c);
      if (in_range || raise) break;
      raise = true;  // rare: once more, from the scores on
    }
    raise = false;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) rows.sum[m][half] += sums[m][half];
    accumulate_rows<T, D>(output, scores, value_stages + stage * stage_elements);
  }

#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float& sum = rows.sum[m][half];
      sum += __shfl_xor_sync(0xffffffffU, sum, 1);
      sum += __shfl_xor_sync(0xffffffffU, sum, 2);
      const int row = warp_row + m * 16 + half * 8 + lane / 4;
      if (row < length && lane % 4 == 0) {
        log_sum_exp[problem.row_offset(b, head) + row] =
            (rows.reference[m][half] + log2f(sum)) * ln_2;
      }
    }
  store_rows<T, D>(out + problem.out_offset(b, head), problem.out_stride(), warp_row, length,
                   head_dim, output, [&](int m, int half) { return 1.0F / rows.sum[m][half]; });
}

template <typename T, int D, AttentionTiles tiles>
void launch(cudaStream_t stream, T* out, float* log_sum_exp, const T* qkv,
            const AttentionProblem& problem) {
  constexpr int shared_bytes = forward_shared_bytes(sizeof(T), D, tiles);
  constexpr int block_rows = rows_per_block<T, D, tiles.warps>;
  const auto kernel = problem.hidden == nullptr
                          ? attention_forward_kernel<T, D, tiles.warps, tiles.streamed, false>
                          : attention_forward_kernel<T, D, tiles.warps, tiles.streamed, true>;
  MEMENGINE_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const dim3 grid(problem.batch * problem.heads, (problem.length + block_rows - 1) / block_rows);
  kernel<<<grid, 32 * tiles.warps, shared_bytes, stream>>>(out, log_sum_exp, qkv, problem);
  MEMENGINE_LAUNCH_CHECK("attention_forward");
}

}  // namespace forward

template <typename T>
void attention_forward(cudaStream_t stream, T* out, float* log_sum_exp, const T* qkv,
                       const AttentionProblem& problem) {
  dispatch_head_dim<T>(problem.head_dim, [&]<int D>() {
    dispatch_tiles<forward_tiles, T, D>(problem.block_shared_bytes, [&]<AttentionTiles tiles>() {
      forward::launch<T, D, tiles>(stream, out, log_sum_exp, qkv, problem);
    });
  });
}
}  // namespace memengine::cuda
