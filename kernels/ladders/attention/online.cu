// Second rung: a warp for every query, its columns spread over the lanes. It walks over its keys
// once and stores no scores; but every warp reads all of its keys and values for itself.
#include "kernels/device_math.cuh"
#include "kernels/ladders/attention/qkv.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr int online_threads = 128;
constexpr int columns_per_lane = static_cast<int>(AttentionShape::max_head_dim) / warp_size;

__global__ void __launch_bounds__(online_threads) online_kernel(Heads<bfloat16> heads) {
  const HeadView<bfloat16> head = heads.view(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int t =
      static_cast<int>(blockIdx.x * (online_threads / warp_size) + threadIdx.x / warp_size);
  if (t >= head.length) return;
  // Element lane + 32 i of a token's row; zero past the head.
  const auto column_of = [&](const bfloat16* rows, int token, int i) {
    const int d = lane + warp_size * i;
    return d < head.head_dim ? to_float(rows[token * head.stride + d]) : 0.0F;
  };
  float query[columns_per_lane], sum[columns_per_lane] = {};
#pragma unroll
  for (int i = 0; i < columns_per_lane; ++i) query[i] = column_of(head.query, t, i) * head.scale;
  float largest = -INFINITY, total = 0;
  for (int s = 0; s <= t; ++s) {
    float score = 0;
#pragma unroll
    for (int i = 0; i < columns_per_lane; ++i) score += query[i] * column_of(head.key, s, i);
    for (int offset = 16; offset > 0; offset /= 2) {
      score += __shfl_xor_sync(0xffffffffU, score, offset);
    }
    const float before = largest;
    largest = fmaxf(largest, score);
    const float shrink = expf(before - largest), p = expf(score - largest);
    total = total * shrink + p;
#pragma unroll
    for (int i = 0; i < columns_per_lane; ++i) {
      sum[i] = sum[i] * shrink + p * column_of(head.value, s, i);
    }
  }
#pragma unroll
  for (int i = 0; i < columns_per_lane; ++i) {
    const int d = lane + warp_size * i;
    if (d < head.head_dim) head.out[t * head.out_stride + d] = to_bfloat16(sum[i] / total);
  }
  if (lane == 0) head.log_sum_exp[t] = largest + logf(total);
}

}  // namespace

void online(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
            const AttentionShape& shape) {
  const Heads<bfloat16> heads(out, log_sum_exp, qkv, shape);
  const dim3 grid(grid_size(ceil_divide(heads.length, online_threads / warp_size)),
                  static_cast<unsigned>(qkv.dim(0) * shape.heads));
  online_kernel<<<grid, online_threads, 0, context.stream>>>(heads);
  MEMENGINE_LAUNCH_CHECK("ladders: online");
}

}  // namespace memengine::ladders::cuda
