// delta [B, heads, T] = rowsum(dout * out): what the gradient of the softmax subtracts. Bound by
// memory: reads dout and out once. A group of lanes (a power of two) sums a row in pairs.
#include "kernels/attention/problem.cuh"
#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int delta_threads = 256;

__device__ float2 load_pair(const float* pair) {
  return *reinterpret_cast<const float2*>(pair);
}
__device__ float2 load_pair(const bfloat16* pair) {
  return __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(pair));
}

// dout, out [B T heads, head_dim]; `lanes` of them share a row.
template <typename T>
__global__ void __launch_bounds__(delta_threads)
    attention_delta_kernel(float* delta, const T* dout, const T* out, int lanes,
                           AttentionProblem problem) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * delta_threads + threadIdx.x) / lanes;
  const std::int64_t rows = std::int64_t{problem.batch} * problem.length * problem.heads;
  const int lane = threadIdx.x % lanes;
  float sum = 0;
  if (row < rows) {
    for (int pair = 2 * lane; pair < problem.head_dim; pair += 2 * lanes) {
      const float2 a = load_pair(dout + row * problem.head_dim + pair);
      const float2 b = load_pair(out + row * problem.head_dim + pair);
      sum += a.x * b.x + a.y * b.y;
    }
  }
  for (int other = lanes / 2; other > 0; other /= 2)
    sum += __shfl_xor_sync(0xffffffffU, sum, other);
  if (row < rows && lane == 0) {
    const std::int64_t token = row / problem.heads;
    const int b = static_cast<int>(token / problem.length);
    const int head = static_cast<int>(row % problem.heads);
    delta[problem.row_offset(b, head) + token % problem.length] = sum;
  }
}

}  // namespace

template <typename T>
void attention_delta(cudaStream_t stream, float* delta, const T* dout, const T* out,
                     const AttentionProblem& problem) {
  int lanes = 1;
  while (lanes < 32 && 2 * lanes < problem.head_dim) lanes *= 2;
  const std::int64_t rows = std::int64_t{problem.batch} * problem.length * problem.heads;
  attention_delta_kernel<<<grid_size(ceil_divide(rows * lanes, delta_threads)), delta_threads, 0,
                           stream>>>(delta, dout, out, lanes, problem);
  MEMENGINE_LAUNCH_CHECK("attention_backward (delta)");
}

template void attention_delta(cudaStream_t, float*, const float*, const float*,
                              const AttentionProblem&);
template void attention_delta(cudaStream_t, float*, const bfloat16*, const bfloat16*,
                              const AttentionProblem&);

}  // namespace memengine::cuda
