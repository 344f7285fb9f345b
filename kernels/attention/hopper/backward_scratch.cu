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
std::int64_t turn_count(std::int64_t rows, std::int64_t head_dim) {
  return rows / group_rows * box_count(static_cast<int>(head_dim));
}

// head_dim / 8 lanes share a row of dout, and the pairs of a token.
template <int head_dim>
__global__ void __launch_bounds__(threads)
    prepare_kernel(BackwardScratch scratch, const bfloat16* dout, const bfloat16* out,
                   const float* log_sum_exp, AttentionProblem problem,
                   const std::int32_t* positions, const __grid_constant__ Frequencies frequencies) {
  constexpr int lanes = head_dim / 8;
  const int padded_length = scratch.tiles * tile;
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  const std::int64_t rows = std::int64_t{problem.batch} * problem.heads * padded_length;
  if (i <= rows / group_rows * box_count(head_dim)) scratch.turns[i] = 0;  // one more: next_unit
  const std::int64_t row = i / lanes;  // of [B, padded_length, heads]
  if (row >= rows) return;
  const int head = static_cast<int>(row % problem.heads);
  const std::int64_t token = row / problem.heads;
  const int t = static_cast<int>(token % padded_length);
  const int b = static_cast<int>(token / padded_length);
  float sum = 0;
  if (t < problem.length) {
    const std::int64_t at =
        problem.out_offset(b, head) + std::int64_t{t} * problem.out_stride() + i % lanes * 8;
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
    const int first = static_cast<int>(i % lanes) * 4;
    float2* const pair = scratch.rotations + token * (head_dim / 2) + first;
#pragma unroll
    for (int k = 0; k < 4; ++k)
      pair[k] = rotation_of(position * frequencies.angle[first + k], -1.0F);
  }
  for (int other = lanes / 2; other > 0; other /= 2)
    sum += __shfl_xor_sync(0xffffffffU, sum, other);
  if (i % lanes != 0) return;
  const std::int64_t to =
      (std::int64_t{b} * problem.heads + head) * padded_length + place_of_sixteen(t);
  scratch.delta[to] = sum;
  scratch.log_sum_exp[to] =
      t < problem.length ? log_sum_exp[problem.row_offset(b, head) + t] * log2_e : INFINITY;
}

// A block has one part. A thread has eight columns of two rows, 8 apart.
template <int head_dim>
__global__ void __launch_bounds__(threads)
    query_gradient_kernel(bfloat16* dqkv, BackwardScratch scratch, AttentionProblem problem) {
  constexpr int queries = query_rows(head_dim), eights = columns_of_box(head_dim) / 8;
  const int parts = scratch.tiles * (tile / queries) * 2;
  const int part = static_cast<int>(blockIdx.x) % parts,
            pair = static_cast<int>(blockIdx.x) / parts;
  const int b = pair / problem.heads, head = pair % problem.heads;
  const int first_query = part / 2 * queries + (head_dim <= 64 ? part % 2 * group_rows : 0);
  const int first_column = head_dim <= 64 ? 0 : part % 2 * box_columns;
  const int eight = static_cast<int>(threadIdx.x) % eights;
  const int row = static_cast<int>(threadIdx.x) / eights;
  if (row >= group_rows / 2) return;
  const int thread = row / 8 * 32 + row % 8 * 4;  // the first of the four that hold the row
  const float4* held = reinterpret_cast<const float4*>(scratch.dquery + std::int64_t{blockIdx.x} *
                                                                            part_floats(head_dim)) +
                       eight * 128 + thread;
  float4 quad[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) quad[i] = held[i];
  const float f = problem.scale;
  const int column = first_column + eight * 8;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int t = first_query + row / 8 * 16 + row % 8 + half * 8;
    if (t >= problem.length) continue;
    std::uint32_t words[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      float2 x = half == 0 ? make_float2(quad[i].x * f, quad[i].y * f)
                           : make_float2(quad[i].z * f, quad[i].w * f);
      if (scratch.rotations != nullptr)
        x = rotate_pair(scratch.rotation(head_dim, b, t)[column / 2 + i], x.x, x.y);
      words[i] = pack_bf16(x.x, x.y);
    }
    bfloat16* target =
        dqkv + problem.qkv_offset(b, head) + std::int64_t{t} * problem.qkv_stride() + column;
    *reinterpret_cast<uint4*>(target) = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

}  // namespace

std::int64_t backward_scratch_bytes(std::int64_t batch, std::int64_t length, std::int64_t heads,
                                    std::int64_t head_dim) {
  const std::int64_t rows = padded_rows(batch, length, heads);
  return static_cast<std::int64_t>(sizeof(float)) *
         (rows * (head_dim + 2) + rows / heads * head_dim + turn_count(rows, head_dim) + 1);
}

BackwardScratch::BackwardScratch(void* memory, std::int64_t batch, std::int64_t length,
                                 std::int64_t heads, std::int64_t head_dim, bool rotated) {
  const std::int64_t rows = padded_rows(batch, length, heads);
  tiles = static_cast<int>(ceil_divide(length, tile));
  dquery = static_cast<float*>(memory);
  log_sum_exp = dquery + rows * head_dim;
  delta = log_sum_exp + rows;
  rotations = rotated ? reinterpret_cast<float2*>(delta + rows) : nullptr;
  turns = reinterpret_cast<int*>(delta + rows + rows / heads * head_dim);
  next_unit = turns + turn_count(rows, head_dim);
}

void prepare_backward(cudaStream_t stream, const BackwardScratch& scratch, const bfloat16* dout,
                      const bfloat16* out, const float* log_sum_exp,
                      const AttentionProblem& problem, const AttentionRotation& rotation) {
  const std::int64_t rows = padded_rows(problem.batch, problem.length, problem.heads);
  const bool rotated = scratch.rotations != nullptr;
  const auto kernel = problem.head_dim == 32   ? prepare_kernel<32>
                      : problem.head_dim == 64 ? prepare_kernel<64>
                                               : prepare_kernel<128>;
  kernel<<<grid_size(ceil_divide(rows * (problem.head_dim / 8), threads)), threads, 0, stream>>>(
      scratch, dout, out, log_sum_exp, problem,
      rotated ? rotation.positions.as<const std::int32_t>() : nullptr,
      rotated ? Frequencies(rotation.angles, problem.head_dim) : Frequencies());
  MEMENGINE_LAUNCH_CHECK("attention_backward (prepare)");
}

void finish_query_gradient(cudaStream_t stream, bfloat16* dqkv, const BackwardScratch& scratch,
                           const AttentionProblem& problem) {
  const int parts = scratch.tiles * (tile / query_rows(problem.head_dim)) * 2;
  const auto kernel = problem.head_dim == 32   ? query_gradient_kernel<32>
                      : problem.head_dim == 64 ? query_gradient_kernel<64>
                                               : query_gradient_kernel<128>;
  const unsigned blocks = grid_size(std::int64_t{problem.batch} * problem.heads * parts);
  kernel<<<blocks, threads, 0, stream>>>(dqkv, scratch, problem);
  MEMENGINE_LAUNCH_CHECK("attention_backward (queries)");
}

}  // namespace memengine::cuda::hopper
