// Attention forward for FP32 tensors: the kernels of forward.cuh at each head width.
//
// D = 8, T = 4096, causal: two products of 2048 flops for 128 scores, three TF32 passes each, are 6
// mma instructions, ~1.6 clocks of a multiprocessor each; exp2 takes 8 clocks. For 32
// sequence-heads on an H100 (132 multiprocessors, 1.7 GHz) that is 0.09 ms. Expected: 0.15 ms.
#include "kernels/attention/forward.cuh"

namespace memengine::cuda {

template void attention_forward(cudaStream_t, float*, float*, const float*,
                                const AttentionProblem&);

}  // namespace memengine::cuda
