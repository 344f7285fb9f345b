// Attention backward on Hopper, five products per tile, deterministic.
//
// A block owns 128 keys of one key/value head at a time (a unit, backward_work.cuh) and walks over
// the tiles of queries that see them: 128 of them, or 64 with heads of 128. Two warpgroups have 64
// keys each; everything is transposed, so that P and dS come out of the tensor cores in the layout
// in which they go back in as left operands:
//
//     S = K Q^T   dP = V dO^T   P = exp2(c S - lse)   dS = P (dP - delta)   with keys as rows
//     dV += P dO   dK += dS Q                  in registers until the unit ends
//     dQ = dS^T K                              dS through shared memory, for both groups' 128 keys
//
// As many blocks run as there are multiprocessors; each fetches its next unit, and with heads of up
// to 64 also its keys and values, while the last one is being worked on. How dQ, the sum over all
// key blocks, comes to global memory in a fixed order: backward_carry.cuh.
//
// A third warpgroup copies: one thread fetches tiles two ahead, two threads carry dQ away while dK
// is being multiplied. One tile i (stage s = i % 2) in time; x? waits for barrier x, x! arrives:
//
//     fetch       used[s]?  copy tile i + 2 to stage s                                  there[s]!
//     group h     there[s]?  S, dP | P | dV += | dS to shared  both!?  dQ, dK +=
//                 dquery_gone[h]?  dQ to shared  dquery_there[h]!  dK done  used[s]!  there[1-s]?
//     carry h     turn?  dquery_there[h]?  add dQ to global  read: dquery_gone[h]!  written: turn!
//
//     barrier          arrive                           wait           it says
//     keys_there       TMA: K and V; fetch              groups, carry  the next unit, its K and V
//     keys_used        256 threads of both groups, both carry  fetch   and that it may be replaced
//     there[s]         TMA: Q, dO, log-sum-exp, delta   both groups    stage s is full
//     used[s]          256 threads of both groups       fetch          stage s is free
//     both (named 1)   256 threads of both groups       the same       dS of all 128 keys is there
//     dquery_there[h]  128 threads of group h           carry h        its part of dQ is there
//     dquery_gone[h]   carry h                          group h        the place of dQ is free
//     turn (global)    carry h of another block         carry h        this block may add
//
// used and the like are first waited for with the parity of a phase that is over: all is free.
//
// P enters dS rounded to BF16, as it enters dV: that frees 64 registers, without which the products
// could not overlap.
//
// Floor, D = 64, T = 4096, causal: 5 T^2 D flops per head over 800 TFLOP/s; exponentials (16
// per clock) take 0.4 of that, what goes through shared memory 1.2 of it. Measured, and what was
// tried besides (dQ a tile late, other orders): tests/GPU.md.
#include "kernels/attention/hopper/backward_carry.cuh"
#include "kernels/attention/hopper/backward_work.cuh"
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"
#include "kernels/attention/hopper/products.cuh"
#include "kernels/rotation.cuh"
#include "kernels/runtime/cuda_check.h"

#include <algorithm>

namespace memengine::cuda::hopper {
namespace backward {
namespace {

constexpr int threads = 3 * 128;  // a copying warpgroup, two multiplying ones

template <int head_dim>
__device__ void fetch_tiles(Shared<head_dim>& shared, const CUtensorMap& qkv,
                            const CUtensorMap& query_map, const CUtensorMap& dout,
                            const Arguments& a) {
  using S = Shared<head_dim>;
  const AttentionProblem& p = a.problem;
  int count = 0;
  for (int item = 0;; ++item) {
    const int slot = item % S::slots;
    const int unit = atomicAdd(a.scratch.next_unit, 1);
    shared.keys_used[slot].wait((item / S::slots + 1) % 2);
    shared.unit[slot] = unit;
    if (unit >= a.units) {
      shared.keys_there[slot].arrive();
      return;
    }
    const Work<head_dim> work(a, unit);
    shared.keys_there[slot].arrive_and_expect(2 * S::boxes * tile_bytes);
    const int key_column = (p.heads + work.kv_head) * head_dim;
    for (int box = 0; box < S::boxes; ++box) {
      const int column = key_column + box * box_columns;
      load_box(shared.key[slot] + box * tile_bytes, qkv, column, work.block * tile, work.sequence,
               shared.keys_there[slot]);
      load_box(shared.value[slot] + box * tile_bytes, qkv, column + p.kv_heads * head_dim,
               work.block * tile, work.sequence, shared.keys_there[slot]);
    }
    work.for_each_tile([&](int head, int query_tile) {
      const int stage = count % 2, first_query = query_tile * S::queries;
      shared.used[stage].wait((count / 2 + 1) % 2);
      Barrier& there = shared.there[stage];
      constexpr int row_values_bytes = S::queries * static_cast<int>(sizeof(float));
      there.arrive_and_expect(2 * S::query_bytes + 2 * row_values_bytes);
#pragma unroll
      for (int box = 0; box < S::boxes; ++box) {
        const int column = head * head_dim + box * box_columns, at = box * S::query_box;
        load_box(shared.query[stage] + at, query_map, column, first_query, work.sequence, there);
        load_box(shared.dout[stage] + at, dout, column, first_query, work.sequence, there);
      }
      const std::int64_t row =
          (std::int64_t{work.sequence} * p.heads + head) * a.scratch.tiles * tile + first_query;
      load_bytes(shared.log_sum_exp[stage], a.scratch.log_sum_exp + row, row_values_bytes, there);
      load_bytes(shared.delta[stage], a.scratch.delta + row, row_values_bytes, there);
      ++count;
    });
  }
}

// Scores of keys that a query does not see become minus infinity. s: this thread's part of
// [64 keys from first_key, 2 size queries from first_query].
template <int size>
__device__ inline void mask_scores(float (&s)[size], const AttentionProblem& problem, int sequence,
                                   int first_key, int first_query, bool bounded) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int key = first_key + warp * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < size; i += 2) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int query = first_query + i / 4 * 8 + lane % 4 * 2 + j;
      const int row = key + i / 2 % 2 * 8;
      if (row > query || (bounded && row < problem.first_key(sequence, query)))
        s[i + j] = -INFINITY;
    }
  }
}

// The gradient of 64 keys from first_key on, before their rotation.
template <int head_dim, int boxes, int columns>
__device__ inline void turn_back(float (&dkey)[boxes][columns], const BackwardScratch& scratch,
                                 int sequence, int first_key) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float2* const rotation =
        scratch.rotation(head_dim, sequence, first_key + warp * 16 + lane / 4 + half * 8) +
        lane % 4;
#pragma unroll
    for (int i = 0; i < boxes * columns; i += 4) {
      float& x = dkey[i / columns][i % columns + 2 * half];
      float& y = dkey[i / columns][i % columns + 2 * half + 1];
      const float2 turned = rotate_pair(rotation[i], x, y);
      x = turned.x;
      y = turned.y;
    }
  }
}

__device__ inline float2 unpack_bf16(std::uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U));
}

template <int head_dim>
__device__ void multiply(Shared<head_dim>& shared, const Arguments& a, int half) {
  using S = Shared<head_dim>;
  constexpr int boxes = S::boxes, slots = S::slots, queries = S::queries;
  constexpr int columns = sums_of_box(head_dim);
  constexpr int size = queries / 2;  // scores of a thread
  const AttentionProblem& p = a.problem;
  const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  const float c = p.scale * log2_e;

  // Where this lane's row of each four 8x8 tiles of dS goes; its 16-byte chunk is swizzled in.
  const int dscore_row = half * group_rows + warp * 16 + lane % 16;
  const std::uint32_t dscore_address =
      shared_address(shared.dscore) + static_cast<std::uint32_t>(dscore_row * row_bytes);

  // This group's part of dQ of the tile of that stage: dS^T K, of 64 queries or of 64 columns.
  const auto multiply_query = [&](float(&dquery)[columns], int stage, int slot) {
    const unsigned char* dscore = shared.dscore[stage][head_dim <= 64 ? half : 0];
    const unsigned char* key = shared.key[slot] + (head_dim <= 64 ? 0 : half * tile_bytes);
    const std::uint64_t left = operand(shared_address(dscore));
    const std::uint64_t right = operand(shared_address(key));
#pragma unroll
    for (int k = 0; k < tile / 16; ++k)
      wgmma_64xn(dquery, left + k * (step_bytes_k_by_columns / 16),
                 right + k * (step_bytes_k_by_columns / 16), k > 0);
    wgmma_commit();
  };
  shared.keys_there[0].wait(0);
  int unit = __shfl_sync(0xffffffffU, shared.unit[0], 0);
  if (unit >= a.units) return;
  int count = 0, item = 0;
  do {
    const int slot = item % slots;
    int sequence, block, end_tile, end;
    {
      const Work<head_dim> work(a, unit);
      sequence = work.sequence;
      block = __shfl_sync(0xffffffffU, work.block, 0);
      end_tile = __shfl_sync(0xffffffffU, work.end_tile, 0);
      end = count + __shfl_sync(0xffffffffU, work.tiles(), 0);
    }
    const unsigned char* key = shared.key[slot] + half * group_bytes;
    const unsigned char* value = shared.value[slot] + half * group_bytes;
    float dkey[boxes][columns] = {}, dvalue[boxes][columns] = {};
    const int first_tile = block * (tile / queries);
    int query_tile = first_tile;
    do {
      const int stage = count % 2;
      float s[size], dp[size], dquery[columns];
      shared.there[stage].wait(count / 2 % 2);
      wgmma_begin();
      multiply_rows<head_dim>(s, key, tile_bytes, shared.query[stage], S::query_box);
      wgmma_commit();
      multiply_rows<head_dim>(dp, value, tile_bytes, shared.dout[stage], S::query_box);
      wgmma_commit();

      wgmma_wait<1>(s);
      const int first_query = query_tile * queries;
      const bool bounded = p.first_visible != nullptr &&
                           p.first_key(sequence, first_query + queries - 1) > block * tile;
      if (first_query < (block + 1) * tile || bounded)
        mask_scores(s, p, sequence, block * tile + half * group_rows, first_query, bounded);
      std::uint32_t probability[size / 2], dscore[size / 2];
      const float4* log_sum_exp =
          reinterpret_cast<const float4*>(shared.log_sum_exp[stage]) + lane % 4;
      const float4* delta = reinterpret_cast<const float4*>(shared.delta[stage]) + lane % 4;
#pragma unroll
      for (int i = 0; i < size; i += 8) {
        const float4 offset = log_sum_exp[i / 2];
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          const float x = exp2_fast(s[i + j] * c - (j < 4 ? offset.x : offset.z));
          const float y = exp2_fast(s[i + j + 1] * c - (j < 4 ? offset.y : offset.w));
          probability[(i + j) / 2] = pack_bf16(x, y);
        }
      }
      wgmma_begin();
      accumulate(dvalue, probability, shared.dout[stage], S::query_box);
      wgmma_commit();

      wgmma_wait<1>(dp);
#pragma unroll
      for (int i = 0; i < size; i += 8) {
        const float4 d = delta[i / 2];
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          const int pair = (i + j) / 2;
          const float x = dp[i + j] - (j < 4 ? d.x : d.z);
          const float y = dp[i + j + 1] - (j < 4 ? d.y : d.w);
          const float2 factor = unpack_bf16(probability[pair]);
          dscore[pair] = pack_bf16(factor.x * x, factor.y * y);
        }
      }
#pragma unroll
      for (int k = 0; k < queries / 16; ++k) {
        const int chunk = k % 4 * 2 + lane / 16;
        store_matrix(dscore_address +
                         static_cast<std::uint32_t>((stage * (queries / 64) + k / 4) * tile_bytes +
                                                    (chunk ^ dscore_row % 8) * 16),
                     dscore + 4 * k);
      }
      publish_shared();
      named_barrier(1, 256);  // both groups' dS is there
      wgmma_begin();
      multiply_query(dquery, stage, slot);
      accumulate(dkey, dscore, shared.query[stage], S::query_box);
      wgmma_commit();

      wgmma_wait<1>(dquery);
      touch_all(dvalue);
      shared.dquery_gone[half].wait((count + 1) % 2);
      float4* part = reinterpret_cast<float4*>(shared.dquery[half]) + thread;
#pragma unroll
      for (int i = 0; i < columns; i += 4)
        part[i * 32] = make_float4(dquery[i], dquery[i + 1], dquery[i + 2], dquery[i + 3]);
      publish_shared();
      shared.dquery_there[half].arrive();
      wgmma_wait<0>(dkey);
      shared.used[stage].arrive();
      query_tile = query_tile + 1 < end_tile ? query_tile + 1 : first_tile;
    } while (++count < end);
    shared.keys_used[slot].arrive();

    const Work<head_dim> work(a, unit);
    const int first_key = work.block * tile + half * group_rows;
    const int stride = p.qkv_stride(), rows_left = p.length - first_key;
    bfloat16* token = a.dqkv + std::int64_t{first_key} * stride;
    if (a.scratch.rotations != nullptr)
      turn_back<head_dim>(dkey, a.scratch, work.sequence, first_key);
    store_rows(token + p.qkv_offset(work.sequence, p.heads + work.kv_head), stride, rows_left, dkey,
               [&](int) { return p.scale; });
    store_rows(token + p.qkv_offset(work.sequence, p.heads + p.kv_heads + work.kv_head), stride,
               rows_left, dvalue, [](int) { return 1.0F; });
    ++item;
    shared.keys_there[item % slots].wait(item / slots % 2);
    unit = __shfl_sync(0xffffffffU, shared.unit[item % slots], 0);
  } while (unit < a.units);
}

template <int head_dim>
__global__ void __launch_bounds__(threads, 1)
    attention_backward_kernel(const __grid_constant__ CUtensorMap qkv,
                              const __grid_constant__ CUtensorMap query_map,
                              const __grid_constant__ CUtensorMap dout,
                              const __grid_constant__ Arguments a) {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<Shared<head_dim>*>(shared_memory);
  if (threadIdx.x == 0) {
    if (shared_address(shared_memory) % 1024 != 0) __trap();
    for (int i = 0; i < units_at_once(head_dim); ++i) {
      shared.keys_there[i].create(1);
      shared.keys_used[i].create(256 + 2);
    }
    for (int i = 0; i < 2; ++i) {
      shared.there[i].create(1);
      shared.used[i].create(256);
      shared.dquery_there[i].create(128);
      shared.dquery_gone[i].create(1);
    }
    fence_barriers();
  }
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == 0) {
    give_up_registers<40>();
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) fetch_tiles(shared, qkv, query_map, dout, a);
      if (warp == 1 || warp == 2) carry_query_gradients(shared, a, warp - 1);
    }
  } else {
    take_registers<232>();
    multiply(shared, a, group - 1);
  }
}

template <int head_dim>
void run(cudaStream_t stream, bfloat16* dqkv, const bfloat16* dout, const bfloat16* qkv,
         const BackwardScratch& scratch, const AttentionProblem& p) {
  const int width = (p.heads + 2 * p.kv_heads) * head_dim;
  constexpr int queries = query_rows(head_dim);
  const CUtensorMap qkv_map = tensor_map(qkv, p.batch, p.length, width, tile);
  const CUtensorMap query_map = tensor_map(qkv, p.batch, p.length, width, queries);
  const CUtensorMap dout_map = tensor_map(dout, p.batch, p.length, p.heads * head_dim, queries);
  constexpr int shared_bytes = sizeof(Shared<head_dim>);
  static_assert(shared_bytes <= 227 * 1024);
  const auto kernel = attention_backward_kernel<head_dim>;
  MEMENGINE_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const int pairs = p.batch * p.kv_heads;
  const int units = pairs * scratch.tiles;
  const Order order{1, scratch.tiles};
  kernel<<<std::min(units, multiprocessors()), threads, shared_bytes, stream>>>(
      qkv_map, query_map, dout_map, Arguments{p, scratch, dqkv, units, order});
  MEMENGINE_LAUNCH_CHECK("attention_backward");
}

}  // namespace
}  // namespace backward

void attention_backward(cudaStream_t stream, bfloat16* dqkv, const bfloat16* dout,
                        const bfloat16* qkv, const bfloat16* out, const float* log_sum_exp,
                        void* scratch_memory, const AttentionProblem& problem,
                        const AttentionRotation& rotation) {
  const BackwardScratch scratch(scratch_memory, problem.batch, problem.length, problem.heads,
                                problem.head_dim, !rotation.positions.empty());
  prepare_backward(stream, scratch, dout, out, log_sum_exp, problem, rotation);
  const auto run = problem.head_dim == 32   ? backward::run<32>
                   : problem.head_dim == 64 ? backward::run<64>
                                            : backward::run<128>;
  run(stream, dqkv, dout, qkv, scratch, problem);
  finish_query_gradient(stream, dqkv, scratch, problem);
}

}  // namespace memengine::cuda::hopper
