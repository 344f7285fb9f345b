// What the backward pass keeps for the length of one call, and the two small passes around its main
// kernel (backward.cu).
#pragma once

#include "kernels/attention/hopper/hopper.h"
#include "kernels/attention/hopper/products.cuh"

namespace memengine::cuda::hopper {

constexpr int part_floats = group_rows * 64;  // dQ of 64 queries of a head
constexpr int part_bytes = part_floats * static_cast<int>(sizeof(float));

// Sequences are padded to whole tiles, so that no tile needs to know where the sequence ends.
struct BackwardScratch {
  int tiles;           // of a sequence
  float* dquery;       // [B, heads, tiles * 2, part_floats]: the sums, unscaled, as a warpgroup
                       // holds them: [column / 8][thread][row half][column pair]
  float* log_sum_exp;  // [B, heads, tiles * 128], times log2(e), infinite beyond the end
  float* delta;        // [B, heads, tiles * 128] rowsum(dout * out), zero beyond the end
  float2* rotations;   // [B, tiles * 128, 32] cosine and sine that turn a pair back, or null
  int* turns;          // [B, heads, tiles * 2]: key blocks that have added their part of dQ
  int* next_unit;      // of work, for the next block that starts

  BackwardScratch(void* memory, std::int64_t batch, std::int64_t length, std::int64_t heads,
                  bool rotated);

  // Of a token's 32 pairs.
  __device__ const float2* rotation(int sequence, int token) const {
    return rotations + (std::int64_t{sequence} * tiles * tile + token) * (head_dim / 2);
  }
};

// Fills log_sum_exp, delta and rotations, zeroes turns and next_unit.
void prepare_backward(cudaStream_t stream, const BackwardScratch& scratch, const bfloat16* dout,
                      const bfloat16* out, const float* log_sum_exp,
                      const AttentionProblem& problem, const AttentionRotation& rotation);
// The query heads of dqkv = scale * dquery, turned back.
void finish_query_gradient(cudaStream_t stream, bfloat16* dqkv, const BackwardScratch& scratch,
                           const AttentionProblem& problem);

}  // namespace memengine::cuda::hopper
