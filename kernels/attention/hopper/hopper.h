// BF16 attention for heads of 32, 64 and 128 on Hopper GPUs (compute capability 9.0): the same
// contract as attention_forward and attention_backward, on wgmma and TMA (the copy engine).
// Compiled for sm_90a.
#pragma once

#include <cuda.h>

#include "kernels/attention/problem.cuh"

namespace memengine::cuda::hopper {

// Is the current device of this kind, and the shape one that these kernels take?
bool can_run(DType dtype, std::int64_t head_dim);

// The current device's multiprocessors.
int multiprocessors();
// How many pieces of work of so many bytes each stay in the L2 cache together, 1 .. count.
int fitting_in_cache(std::int64_t bytes, int count);

void attention_forward(cudaStream_t stream, bfloat16* out, float* log_sum_exp, const bfloat16* qkv,
                       const AttentionProblem& problem);

// `scratch`: backward_scratch_bytes(), aligned to 128 bytes.
std::int64_t backward_scratch_bytes(std::int64_t batch, std::int64_t length, std::int64_t heads,
                                    std::int64_t head_dim);
void attention_backward(cudaStream_t stream, bfloat16* dqkv, const bfloat16* dout,
                        const bfloat16* qkv, const bfloat16* out, const float* log_sum_exp,
                        void* scratch, const AttentionProblem& problem,
                        const AttentionRotation& rotation);

// A BF16 tensor [batch, length, width] for TMA, in boxes of `rows` tokens by 64
// columns.
CUtensorMap tensor_map(const bfloat16* tensor, int batch, int length, int width, int rows);
// The same where rows, or sequences, lie further apart (in elements, multiples of 8) or closer.
CUtensorMap tensor_map(const bfloat16* tensor, int batch, int length, int width, int rows,
                       std::int64_t sequence_distance, std::int64_t row_distance);

}  // namespace memengine::cuda::hopper
