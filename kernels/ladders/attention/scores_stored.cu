// First rung: three kernels, with all scores in memory between them.
#include "kernels/device_math.cuh"
#include "kernels/ladders/attention/qkv.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int stored_threads = 256;

// A thread for every query and key; grid (keys / threads, queries, heads).
__global__ void __launch_bounds__(stored_threads)
    scores_kernel(float* scores, Heads<bfloat16> heads) {
  const HeadView<bfloat16> head = heads.view(blockIdx.z);
  const int t = static_cast<int>(blockIdx.y);
  const int s = static_cast<int>(blockIdx.x * stored_threads + threadIdx.x);
  if (s > t) return;
  float sum = 0;
  for (int d = 0; d < head.head_dim; ++d) {
    sum += to_float(head.query[t * head.stride + d]) * to_float(head.key[s * head.stride + d]);
  }
  scores[(std::int64_t{blockIdx.z} * head.length + t) * head.length + s] = sum * head.scale;
}

// A block for every query; grid (queries, heads).
__global__ void __launch_bounds__(stored_threads)
    softmax_kernel(float* scores, Heads<bfloat16> heads) {
  const HeadView<bfloat16> head = heads.view(blockIdx.y);
  const int t = static_cast<int>(blockIdx.x);
  float* row = scores + (std::int64_t{blockIdx.y} * head.length + t) * head.length;
  __shared__ float of_thread[stored_threads];
  // All threads' numbers, combined two by two.
  const auto combine = [&](float mine, auto both) {
    of_thread[threadIdx.x] = mine;
    for (int half = stored_threads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) {
        of_thread[threadIdx.x] = both(of_thread[threadIdx.x], of_thread[threadIdx.x + half]);
      }
    }
    __syncthreads();
    const float all = of_thread[0];
    __syncthreads();
    return all;
  };
  float largest = -INFINITY;
  for (int s = static_cast<int>(threadIdx.x); s <= t; s += stored_threads) {
    largest = fmaxf(largest, row[s]);
  }
  largest = combine(largest, [](float a, float b) { return fmaxf(a, b); });
  float sum = 0;
  for (int s = static_cast<int>(threadIdx.x); s <= t; s += stored_threads) {
    sum += expf(row[s] - largest);
  }
  sum = combine(sum, [](float a, float b) { return a + b; });
  for (int s = static_cast<int>(threadIdx.x); s <= t; s += stored_threads) {
    row[s] = expf(row[s] - largest) / sum;
  }
  if (threadIdx.x == 0) head.log_sum_exp[t] = largest + logf(sum);
}

// A thread for every query and column; grid (queries, heads), a block as wide as a head.
__global__ void __launch_bounds__(AttentionShape::max_head_dim)
    sum_values_kernel(const float* scores, Heads<bfloat16> heads) {
  const HeadView<bfloat16> head = heads.view(blockIdx.y);
  const int t = static_cast<int>(blockIdx.x), d = static_cast<int>(threadIdx.x);
  const float* row = scores + (std::int64_t{blockIdx.y} * head.length + t) * head.length;
  float sum = 0;
  for (int s = 0; s <= t; ++s) sum += row[s] * to_float(head.value[s * head.stride + d]);
  head.out[t * head.out_stride + d] = to_bfloat16(sum);
}

}  // namespace

void scores_stored(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
                   const AttentionShape& shape) {
  const Heads<bfloat16> heads(out, log_sum_exp, qkv, shape);
  const auto all_heads = static_cast<unsigned>(qkv.dim(0) * shape.heads);
  const auto length = static_cast<unsigned>(heads.length);
  auto* scores = Scratch(context).take<float>(all_heads * heads.length * heads.length);
  scores_kernel<<<dim3((length + stored_threads - 1) / stored_threads, length, all_heads),
                  stored_threads, 0, context.stream>>>(scores, heads);
  MEMENGINE_LAUNCH_CHECK("ladders: scores_stored (scores)");
  softmax_kernel<<<dim3(length, all_heads), stored_threads, 0, context.stream>>>(scores, heads);
  MEMENGINE_LAUNCH_CHECK("ladders: scores_stored (softmax)");
  sum_values_kernel<<<dim3(length, all_heads), static_cast<unsigned>(heads.head_dim), 0,
                      context.stream>>>(scores, heads);
  MEMENGINE_LAUNCH_CHECK("ladders: scores_stored (values)");
}

}  // namespace memengine::ladders::cuda
