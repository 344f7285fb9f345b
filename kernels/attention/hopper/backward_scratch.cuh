// What the backward pass keeps for the length of one call, and the two small passes around its
// main kernel (backward.cu).
#pragma once

#include "kernels/attention/hopper/hopper.h"
#include "kernels/attention/hopper/products.cuh"

namespace memengine::cuda::hopper {

// A part of dQ: 64 queries x the columns of a box.
constexpr int part_floats(int head_dim) {
  return group_rows * columns_of_box(head_dim);
}
constexpr int part_bytes(int head_dim) {
  return part_floats(head_dim) * static_cast<int>(sizeof(float));
}

// Queries that are worked on at a time.
constexpr int query_rows(int head_dim) {
  return head_dim <= 64 ? 128 : 64;
}

// Sequences are padded to whole tiles, so that no tile needs to know where the sequence ends.
struct BackwardScratch {
  int tiles;           // of 128 tokens, of a sequence
  float* dquery;       // [B, heads, parts of dQ, part_floats]: the sums, unscaled, as a warpgroup
                       // holds them: [column / 8][thread][row half][column pair]. Two parts per
                       // tile of queries, of 64 queries each, or of 64 columns (heads of 128)
  float* log_sum_exp;  // [B, heads, tiles * 128], times log2(e), infinite beyond the end
  float* delta;        // [B, heads, tiles * 128] rowsum(dout * out), zero beyond the end
  float2* rotations;   // [B, tiles * 128, head_dim / 2]: cosine and sine that turn a pair back, or
                       // null
  int* turns;          // of each part: key blocks that have added to it
  int* next_unit;      // of work, for the next block that has none

  BackwardScratch(void* memory, std::int64_t batch, std::int64_t length, std::int64_t heads,
                  std::int64_t head_dim, bool rotated);

  // Of a token's pairs.
  __device__ const float2* rotation(int head_dim, int sequence, int token) const {
    return rotations + (std::int64_t{sequence} * tiles * tile + token) * (head_dim / 2);
  }
};

// Where a query's log-sum-exp and delta stand among sixteen: a lane of a warpgroup reads those of
// its two columns and of the same columns of the next eight together.
__device__ inline int place_of_sixteen(int t) {
  return t / 16 * 16 + t % 8 / 2 * 4 + t / 8 % 2 * 2 + t % 2;
}

// Fills log_sum_exp, delta and rotations, zeroes turns and next_unit.
void prepare_backward(cudaStream_t stream, const BackwardScratch& scratch, const bfloat16* dout,
                      const bfloat16* out, const float* log_sum_exp,
                      const AttentionProblem& problem, const AttentionRotation& rotation);
// The query heads of dqkv = scale * dquery, turned back.
void finish_query_gradient(cudaStream_t stream, bfloat16* dqkv, const BackwardScratch& scratch,
                           const AttentionProblem& problem);

}  // namespace memengine::cuda::hopper
