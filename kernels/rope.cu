// Rotary position embedding on CUDA, in place. A block takes a few tokens: it first computes their
// cosines and sines, once for all heads, into shared memory, and then turns the pairs, 16 bytes at
// a time.
#include "kernels/rope.h"

#include "kernels/device_math.cuh"
#include "kernels/rotation.cuh"

namespace memengine::cuda {
namespace {

constexpr int rope_threads = 256;
constexpr int tokens_per_block = 4;

template <typename T, int width>
__global__ void __launch_bounds__(rope_threads)
    rope_kernel(T* qkv, const std::int32_t* positions, std::int64_t tokens, int all_heads,
                int rotated_heads, int head_dim, float direction,
                const __grid_constant__ Frequencies frequencies) {
  __shared__ float2 rotation[tokens_per_block * max_pairs];
  const std::int64_t first_token = std::int64_t{blockIdx.x} * tokens_per_block;
  const int here = static_cast<int>(min(std::int64_t{tokens_per_block}, tokens - first_token));
  const int pairs = head_dim / 2;
  for (int i = static_cast<int>(threadIdx.x); i < here * pairs; i += rope_threads) {
    const float angle =
        static_cast<float>(positions[first_token + i / pairs]) * frequencies.angle[i % pairs];
    rotation[i] = rotation_of(angle, direction);
  }
  __syncthreads();

  const int token_pieces = rotated_heads * head_dim / width;
  for (int i = static_cast<int>(threadIdx.x); i < here * token_pieces; i += rope_threads) {
    const int token = i / token_pieces;
    const int element = (i - token * token_pieces) * width;  // within the token's rotated heads
    T* const address = qkv + (first_token + token) * all_heads * head_dim + element;
    const float2* turn = rotation + token * pairs + element % head_dim / 2;
    const Pack<T, width> pack = load<width>(address);
    float x[width];
#pragma unroll
    for (int j = 0; j < width; j += 2) {
      const float2 turned = rotate_pair(turn[j / 2], pack[j], pack[j + 1]);
      x[j] = turned.x;
      x[j + 1] = turned.y;
    }
    store(address, x);
  }
}

void rotate(const Context& context, const char* op, Tensor qkv, Tensor positions,
            std::int64_t rotated_heads, const RopeAngles& angles, float direction) {
  const std::int64_t tokens = positions.size();
  const std::int64_t head_dim = qkv.dim(qkv.rank() - 1);
  const std::int64_t all_heads = qkv.dim(qkv.rank() - 2);
  if (tokens == 0 || rotated_heads == 0) return;
  if (head_dim % 2 != 0 || head_dim > 2 * max_pairs) {
    fail_internal("{}: head_dim {} is odd or above {}", op, head_dim, 2 * max_pairs);
  }
  const Frequencies frequencies(angles, head_dim);
  dispatch_storage(op, qkv.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width>() {
      rope_kernel<T, width>
          <<<grid_size(ceil_divide(tokens, tokens_per_block)), rope_threads, 0, context.stream>>>(
              qkv.as<T>(), positions.as<std::int32_t>(), tokens, static_cast<int>(all_heads),
              static_cast<int>(rotated_heads), static_cast<int>(head_dim), direction, frequencies);
    };
    if (in_vectors<T>(head_dim, {qkv.data()}))
      launch.template operator()<vector_width<T>>();
    else
      launch.template operator()<2>();
  });
  MEMENGINE_LAUNCH_CHECK(op);
}

}  // namespace

void rope_forward(const Context& context, Tensor qkv, Tensor positions, std::int64_t rotated_heads,
                  const RopeAngles& angles) {
  rotate(context, "rope_forward", qkv, positions, rotated_heads, angles, 1.0F);
}

void rope_backward(const Context& context, Tensor dqkv, Tensor positions,
                   std::int64_t rotated_heads, const RopeAngles& angles) {
  rotate(context, "rope_backward", dqkv, positions, rotated_heads, angles, -1.0F);
}

}  // namespace memengine::cuda
