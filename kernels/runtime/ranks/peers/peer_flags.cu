// The wait as a kernel of one warp.
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/ranks/peers/peer_flags.h"

namespace memengine::cuda {
namespace {

__global__ void flags_wait_kernel(std::int32_t* words, int count, int own) {
  for (int r = static_cast<int>(threadIdx.x); r < count; r += static_cast<int>(blockDim.x)) {
    if (r == own) continue;
    volatile std::int32_t* word = words + r;
    while (*word == 0) __nanosleep(200);
    *word = 0;
  }
  __threadfence_system();
}

}  // namespace

void wait_for_ones(const Context& context, std::int32_t* words, int count, int own) {
  flags_wait_kernel<<<1, 32, 0, context.stream>>>(words, count, own);
  MEMENGINE_LAUNCH_CHECK("wait_for_ones");
}

}  // namespace memengine::cuda
