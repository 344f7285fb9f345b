// Before and after the main kernel of the backward pass; both are bound by memory.
#include "kernels/attention/hopper/backward_scratch.cuh"

#include "kernels/device_math.cuh"
#include "kernels/rotation.cuh"
#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda::hopper {
namespace {

constexpr int threads = 256;

std::int64_t padded_rows(std::int64_t batch, std::int64_t length, std::int64_t heads) {
  return batch * heads * ceil_divide(length, tile) * tile;
}

// Eight lanes share a row of dout, and the pairs of a token.
__global__ void __launch_bounds__(threads)
    prepare_kernel(BackwardScratch scratch, const bfloat16* dout, const bfloat16* out,
                   const float* log_sum_exp, AttentionProblem problem,
                   const std::int32_t* positions, const __grid_constant__ Frequencies frequencies) {
  const int padded_length = scratch.tiles * tile;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t rows = std::int64_t{problem.batch} * problem.heads * padded_length;
  if (i <= rows / group_rows) scratch.turns[i] = 0;  // one more: next_unit
  const std::int64_t row = i / 8;                    // of [B, padded_length, heads]
  if (row >= rows) return;
  const int head = static_cast<int>(row % problem.heads);
  const std::int64_t token = row / problem.heads;
  const int t = static_cast<int>(token % padded_length);
  const int b = static_cast<int>(token / padded_length);
  float sum = 0;
  if (t < problem.length) {
    const std::int64_t at =
        problem.out_offset(b, head) + std::int64_t{t} * problem.out_stride() + i % 8 * 8;
    const uint4 left = *reinterpret_cast<const uint4*>(dout + at);
    const uint4 right = *reinterpret_cast<const uint4*>(out + at);
    const std::uint32_t l[] = {left.x, left.y, left.z, left.w};
    const std::uint32_t r[] = {right.x, right.y, right.z, right.w};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      sum += __uint_as_float(l[k] << 16) * __uint_as_float(r[k] << 16);
      sum += __uint_as_float(l[k] & 0xffff0000U) * __uint_as_float(r[k] & 0xffff0000U);
    }
  }
  if (scratch.rotations != nullptr && head == 0) {
    const std::int64_t last = std::int64_t{b} * problem.length + problem.length - 1;
    const auto position = static_cast<float>(positions[min(last, last - problem.length + 1 + t)]);
    const int first = static_cast<int>(i % 8) * 4;
    float2* const pair = scratch.rotations + token * (head_dim / 2) + first;
#pragma unroll
    for (int k = 0; k < 4; ++k)
      pair[k] = rotation_of(position * frequencies.angle[first + k], -1.0F);
  }
  for (int other = 4; other > 0; other /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, other);
  if (i % 8 != 0) return;
  const std::int64_t to = (std::int64_t{b} * problem.heads + head) * padded_length + t;
  scratch.delta[to] = sum;
  scratch.log_sum_exp[to] =
      t < problem.length ? log_sum_exp[problem.row_offset(b, head) + t] * log2_e : INFINITY;
}

// A block has one part: 64 queries of a head. A thread has eight columns of two rows.
__global__ void __launch_bounds__(threads)
    query_gradient_kernel(bfloat16* dqkv, BackwardScratch scratch, AttentionProblem problem) {
  const int parts = scratch.tiles * 2;
  const int pair = static_cast<int>(blockIdx.x) / parts;
  const int b = pair / problem.heads, head = pair % problem.heads;
  const int columns = static_cast<int>(threadIdx.x) % 8, row = static_cast<int>(threadIdx.x) / 8;
  const int thread = row / 8 * 32 + row % 8 * 4;  // the first of the four that hold the row
  const float4* held =
      reinterpret_cast<const float4*>(scratch.dquery + std::int64_t{blockIdx.x} * part_floats) +
      columns * 128 + thread;
  float4 quad[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) quad[i] = held[i];
  const float f = problem.scale;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int t =
        static_cast<int>(blockIdx.x) % parts * group_rows + row / 8 * 16 + row % 8 + half * 8;
    if (t >= problem.length) continue;
    float2 pair[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      pair[i] = half == 0 ? make_float2(quad[i].x * f, quad[i].y * f)
                          : make_float2(quad[i].z * f, quad[i].w * f);
    if (scratch.rotations != nullptr) {
      const float2* const rotation = scratch.rotation(b, t) + columns * 4;
#pragma unroll
      for (int i = 0; i < 4; ++i) pair[i] = rotate_pair(rotation[i], pair[i].x, pair[i].y);
    }
    std::uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) words[i] = pack_bf16(pair[i].x, pair[i].y);
    bfloat16* target =
        dqkv + problem.qkv_offset(b, head) + std::int64_t{t} * problem.qkv_stride() + columns * 8;
    *reinterpret_cast<uint4*>(target) = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

}  // namespace

std::int64_t backward_scratch_bytes(std::int64_t batch, std::int64_t length, std::int64_t heads) {
  const std::int64_t rows = padded_rows(batch, length, heads);
  return static_cast<std::int64_t>(sizeof(float)) *
         (rows * (head_dim + 2) + rows / heads * head_dim + rows / group_rows + 1);
}

BackwardScratch::BackwardScratch(void* memory, std::int64_t batch, std::int64_t length,
                                 std::int64_t heads, bool rotated) {
  const std::int64_t rows = padded_rows(batch, length, heads);
  tiles = static_cast<int>(ceil_divide(length, tile));
  dquery = static_cast<float*>(memory);
  log_sum_exp = dquery + rows * head_dim;
  delta = log_sum_exp + rows;
  rotations = rotated ? reinterpret_cast<float2*>(delta + rows) : nullptr;
  turns = reinterpret_cast<int*>(delta + rows + rows / heads * head_dim);
  next_unit = turns + rows / group_rows;
}

void prepare_backward(cudaStream_t stream, const BackwardScratch& scratch, const bfloat16* dout,
                      const bfloat16* out, const float* log_sum_exp,
                      const AttentionProblem& problem, const AttentionRotation& rotation) {
  const std::int64_t rows = padded_rows(problem.batch, problem.length, problem.heads);
  const bool rotated = scratch.rotations != nullptr;
  prepare_kernel<<<grid_size(ceil_divide(rows * 8, threads)), threads, 0, stream>>>(
      scratch, dout, out, log_sum_exp, problem,
      rotated ? rotation.positions.as<const std::int32_t>() : nullptr,
      rotated ? Frequencies(rotation.angles, head_dim) : Frequencies());
  MEMENGINE_LAUNCH_CHECK("attention_backward (prepare)");
}

void finish_query_gradient(cudaStream_t stream, bfloat16* dqkv, const BackwardScratch& scratch,
                           const AttentionProblem& problem) {
  const std::int64_t parts = std::int64_t{problem.batch} * problem.heads * scratch.tiles * 2;
  query_gradient_kernel<<<grid_size(parts), threads, 0, stream>>>(dqkv, scratch, problem);
  MEMENGINE_LAUNCH_CHECK("attention_backward (queries)");
}

}  // namespace memengine::cuda::hopper
