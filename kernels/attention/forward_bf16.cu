// Attention forward for BF16 tensors: the kernels of forward.cuh at each head width.
//
// On Hopper, heads of 32, 64 and 128 take hopper/forward.cu instead.
//
// D = 64, T = 4096, causal: the floor is 2 T^2 D flops per head over the ~620 TFLOP/s that mma.sync
// reaches on an H100; exp2, at 16 per clock and multiprocessor, would allow 950. Expected: 300.
#include "kernels/attention/forward.cuh"

namespace memengine::cuda {

template void attention_forward(cudaStream_t, bfloat16*, float*, const bfloat16*,
                                const AttentionProblem&);

}  // namespace memengine::cuda
