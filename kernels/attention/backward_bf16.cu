// Attention backward for BF16 tensors: the kernels of backward.cuh at each head width.
//
// On Hopper, heads of 32, 64 and 128 take hopper/backward.cu instead.
//
// D = 64, T = 4096, causal: the floor is 7 T^2 D flops per head over the ~620 TFLOP/s that mma.sync
// reaches on an H100. Expected: 200 TFLOP/s, counted as the usual 5 T^2 D.
#include "kernels/attention/backward.cuh"

namespace memengine::cuda {

template void attention_backward(cudaStream_t, bfloat16*, const bfloat16*, const bfloat16*,
                                 const float*, const float*, const AttentionProblem&);

}  // namespace memengine::cuda
