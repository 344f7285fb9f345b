// Attention backward on Hopper, five products per tile, deterministic.
//
// A block owns 128 keys of one key/value head and walks over the 128-query tiles that see them.
// Two warpgroups have 64 keys each; everything is transposed, so that P and dS come out of the
// tensor cores in the layout in which they go back in as left operands:
//
//     S = K Q^T   dP = V dO^T   P = exp2(c S - lse)   dS = P (dP - delta)   with keys as rows
//     dV += P dO   dK += dS Q                  in registers until the block ends
//     dQ = dS^T K                              dS through shared memory, for both groups' 128 keys
//
// dQ of a query tile is the sum over all key blocks. To be the same every time, the blocks add in a
// fixed order: descending keys. A copying warp waits for its block's turn (a counter for each 64
// queries), lets TMA add the tile to global memory, and passes the turn on. Blocks take
// their work in that order too, and walk queries upwards: when block n comes to tile m, block n + 1
// has just left it, so nobody waits long; and nobody waits for a block that has not started.
//
// A third warpgroup copies: one thread fetches tiles two ahead, two threads carry dQ away while dK
// is being multiplied. One tile i (stage s = i % 2) in time; x? waits for barrier x, x! arrives:
//
//     fetch       used[s]?  copy tile i + 2 to stage s                                  there[s]!
//     group h     there[s]?  S, dP | P | dV += | dS to shared  both!?  dQ, dK +=
//                 dquery_gone[h]?  dQ to shared  dquery_there[h]!  dK done  used[s]!  there[1-s]?
//     carry h     turn?  dquery_there[h]?  add dQ to global  read: dquery_gone[h]!  written: turn!
//
//     barrier          arrive                           wait         it says
//     keys_there       TMA: K and V, once per block     both groups  K and V are in shared memory
//     there[s]         TMA: Q, dO, log-sum-exp, delta   both groups  stage s is full
//     used[s]          256 threads of both groups       fetch        stage s is free
//     both (named 1)   256 threads of both groups       the same     dS of all 128 keys is there
//     dquery_there[h]  128 threads of group h           carry h      its 64 queries' dQ is there
//     dquery_gone[h]   carry h                          group h      the place of dQ is free
//     turn (global)    carry h of key block n + 1       carry h      block n may add
//
// used and dquery_gone are first waited for with the parity of a phase that is over: all is free.
//
// P enters dS rounded to BF16, as it enters dV: that frees 64 registers, without which the products
// could not overlap.
//
// Measured on an H100 (tests/GPU.md): 355 TFLOP/s, counted as 5 T^2 D flops per head at D = 64,
// T = 4096, causal; 245 with the seven products of backward.cuh.
//
// Floor, D = 64, T = 4096, causal: 5 T^2 D flops per head over 800 TFLOP/s; exponentials (16
// per clock) take 0.4 of that.
#include "kernels/attention/hopper/backward_scratch.cuh"
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"
#include "kernels/attention/hopper/products.cuh"
#include "kernels/rotation.cuh"
#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda::hopper {
namespace {

constexpr int threads = 3 * 128;  // a copying warpgroup, two multiplying ones

struct Arguments {
  AttentionProblem problem;
  BackwardScratch scratch;
  bfloat16* dqkv;  // keys and values are written here
};

struct alignas(1024) Shared {
  unsigned char key[tile_bytes], value[tile_bytes];
  unsigned char query[2][tile_bytes], dout[2][tile_bytes];
  unsigned char dscore[2][2][tile_bytes];  // two in turn; of 64 queries each, keys as rows
  float dquery[2][part_floats];
  float log_sum_exp[2][tile], delta[2][tile];
  Barrier keys_there, there[2], used[2], dquery_there[2], dquery_gone[2];
  int unit;
};

__device__ inline int turn_of(const int* turn) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(turn) : "memory");
  return value;
}
__device__ inline void pass_turn(int* turn, int value) {
  asm volatile("fence.proxy.async;" ::: "memory");
  asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(turn), "r"(value) : "memory");
}

// What a block works on.
struct Work {
  int sequence, kv_head, block;  // of keys
  int first_tile, end_tile;      // of queries that see a key of this block
  int first_head, end_head;      // the query heads of this key/value head

  __device__ Work(const Arguments& a, int unit) {
    const int pair = unit / a.scratch.tiles;
    block = a.scratch.tiles - 1 - unit % a.scratch.tiles;
    sequence = pair / a.problem.kv_heads;
    kv_head = pair % a.problem.kv_heads;
    first_tile = block;
    const int end = a.problem.query_end(sequence, min((block + 1) * tile, a.problem.length));
    end_tile = (end + tile - 1) / tile;
    first_head = kv_head * a.problem.group();
    end_head = first_head + a.problem.group();
  }
  // Calls visit(head, query tile) in the one order that all warps follow.
  template <typename Visit>
  __device__ void for_each_tile(const Visit& visit) const {
    for (int head = first_head; head < end_head; ++head)
      for (int query_tile = first_tile; query_tile < end_tile; ++query_tile)
        visit(head, query_tile);
  }
};

__device__ void fetch_tiles(Shared& shared, const CUtensorMap& qkv, const CUtensorMap& dout,
                            const Arguments& a, const Work& work) {
  const AttentionProblem& p = a.problem;
  shared.keys_there.arrive_and_expect(2 * tile_bytes);
  load_box(shared.key, qkv, (p.heads + work.kv_head) * head_dim, work.block * tile, work.sequence,
           shared.keys_there);
  load_box(shared.value, qkv, (p.heads + p.kv_heads + work.kv_head) * head_dim, work.block * tile,
           work.sequence, shared.keys_there);
  int count = 0;
  work.for_each_tile([&](int head, int query_tile) {
    const int stage = count % 2;
    shared.used[stage].wait((count / 2 + 1) % 2);
    Barrier& there = shared.there[stage];
    load_box(shared.query[stage], qkv, head * head_dim, query_tile * tile, work.sequence, there);
    load_box(shared.dout[stage], dout, head * head_dim, query_tile * tile, work.sequence, there);
    const std::int64_t row =
        (std::int64_t{work.sequence} * p.heads + head) * a.scratch.tiles * tile + query_tile * tile;
    load_bytes(shared.log_sum_exp[stage], a.scratch.log_sum_exp + row, sizeof(float) * tile, there);
    load_bytes(shared.delta[stage], a.scratch.delta + row, sizeof(float) * tile, there);
    there.arrive_and_expect(2 * tile_bytes + 2 * tile * static_cast<int>(sizeof(float)));
    ++count;
  });
}

// `half`: which 64 queries of every tile.
__device__ void carry_query_gradients(Shared& shared, const Arguments& a, const Work& work,
                                      int half) {
  int count = 0;
  work.for_each_tile([&](int head, int query_tile) {
    const std::int64_t part =
        (std::int64_t{work.sequence} * a.problem.heads + head) * a.scratch.tiles * 2 +
        query_tile * 2 + half;
    const int turn = query_tile - work.block;
    while (turn_of(a.scratch.turns + part) != turn) {
    }
    shared.dquery_there[half].wait(count % 2);
    float* sum = a.scratch.dquery + part * part_floats;
    if (turn == 0)
      store_bytes(sum, shared.dquery[half], part_bytes);
    else
      add_floats(sum, shared.dquery[half], part_bytes);
    commit_stores();
    wait_stores_read();
    shared.dquery_gone[half].arrive();
    wait_stores_written();
    pass_turn(a.scratch.turns + part, turn + 1);
    ++count;
  });
}

// Scores of keys that a query does not see become minus infinity. s: this thread's part of
// [64 keys from first_key, 128 queries from first_query].
__device__ inline void mask_scores(float (&s)[64], const AttentionProblem& problem, int sequence,
                                   int first_key, int first_query, bool bounded) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int key = first_key + warp * 16 + lane / 4;
#pragma unroll
  for (int i = 0; i < 64; i += 2) {
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
__device__ inline void turn_back(float (&dkey)[32], const BackwardScratch& scratch, int sequence,
                                 int first_key) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float2* const rotation =
        scratch.rotation(sequence, first_key + warp * 16 + lane / 4 + half * 8) + lane % 4;
#pragma unroll
    for (int i = 0; i < 32; i += 4) {
      float& x = dkey[i + 2 * half];
      float& y = dkey[i + 2 * half + 1];
      const float2 turned = rotate_pair(rotation[i], x, y);
      x = turned.x;
      y = turned.y;
    }
  }
}

__device__ inline float2 unpack_bf16(std::uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000U));
}

__device__ void multiply(Shared& shared, const Arguments& a, const Work& work, int half) {
  const AttentionProblem& p = a.problem;
  const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32;
  const int first_key = work.block * tile + half * group_rows;
  const unsigned char* key = shared.key + half * group_bytes;
  const unsigned char* value = shared.value + half * group_bytes;
  const float c = p.scale * log2_e;
  const int tiles = __shfl_sync(
      0xffffffffU, (work.end_tile - work.first_tile) * (work.end_head - work.first_head), 0);

  // Where this lane's row of each four 8x8 tiles of dS goes; its 16-byte chunk is swizzled in.
  const int dscore_row = half * group_rows + warp * 16 + lane % 16;
  const std::uint32_t dscore_address =
      shared_address(shared.dscore) + static_cast<std::uint32_t>(dscore_row * row_bytes);

  float dkey[32] = {}, dvalue[32] = {};
  shared.keys_there.wait(0);
  int query_tile = work.first_tile;
  for (int count = 0; count < tiles; ++count) {
    const int stage = count % 2;
    float s[64], dp[64];
    shared.there[stage].wait(count / 2 % 2);
    wgmma_begin();
    multiply_rows(s, key, shared.query[stage]);
    wgmma_commit();
    multiply_rows(dp, value, shared.dout[stage]);
    wgmma_commit();

    wgmma_wait<1>(s);
    const int first_query = query_tile * tile;
    const bool bounded = p.first_visible != nullptr &&
                         p.first_key(work.sequence, first_query + tile - 1) > work.block * tile;
    if (query_tile == work.block || bounded)
      mask_scores(s, p, work.sequence, first_key, first_query, bounded);
    std::uint32_t probability[32], dscore[32];
    const float* log_sum_exp = shared.log_sum_exp[stage] + lane % 4 * 2;
    const float* delta = shared.delta[stage] + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 64; i += 4) {
      const float2 offset = *reinterpret_cast<const float2*>(log_sum_exp + i * 2);
      s[i] = exp2_fast(s[i] * c - offset.x);
      s[i + 1] = exp2_fast(s[i + 1] * c - offset.y);
      s[i + 2] = exp2_fast(s[i + 2] * c - offset.x);
      s[i + 3] = exp2_fast(s[i + 3] * c - offset.y);
      probability[i / 2] = pack_bf16(s[i], s[i + 1]);
      probability[i / 2 + 1] = pack_bf16(s[i + 2], s[i + 3]);
    }
    wgmma_begin();
    accumulate(dvalue, probability, shared.dout[stage]);
    wgmma_commit();

    wgmma_wait<1>(dp);
#pragma unroll
    for (int i = 0; i < 64; i += 4) {
      const float2 d = *reinterpret_cast<const float2*>(delta + i * 2);
      const float2 upper = unpack_bf16(probability[i / 2]);
      const float2 lower = unpack_bf16(probability[i / 2 + 1]);
      dscore[i / 2] = pack_bf16(upper.x * (dp[i] - d.x), upper.y * (dp[i + 1] - d.y));
      dscore[i / 2 + 1] = pack_bf16(lower.x * (dp[i + 2] - d.x), lower.y * (dp[i + 3] - d.y));
    }
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const int chunk = k % 4 * 2 + lane / 16;
      store_matrix(dscore_address + static_cast<std::uint32_t>((stage * 2 + k / 4) * tile_bytes +
                                                               (chunk ^ dscore_row % 8) * 16),
                   dscore + 4 * k);
    }
    publish_shared();
    named_barrier(1, 256);  // both groups' dS is there

    float dquery[32];
    const std::uint64_t left = operand(shared_address(shared.dscore[stage][half]));
    const std::uint64_t right = operand(shared_address(shared.key));
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < tile / 16; ++k)
      wgmma_64x64(dquery, left + k * (step_bytes_k_by_columns / 16),
                  right + k * (step_bytes_k_by_columns / 16), k > 0);
    wgmma_commit();
    accumulate(dkey, dscore, shared.query[stage]);
    wgmma_commit();

    wgmma_wait<1>(dquery, dvalue);
    shared.dquery_gone[half].wait((count + 1) % 2);
    float4* part = reinterpret_cast<float4*>(shared.dquery[half]) + thread;
#pragma unroll
    for (int i = 0; i < 32; i += 4)
      part[i * 32] = make_float4(dquery[i], dquery[i + 1], dquery[i + 2], dquery[i + 3]);
    publish_shared();
    shared.dquery_there[half].arrive();
    wgmma_wait<0>(dkey);
    shared.used[stage].arrive();
    query_tile = query_tile + 1 < work.end_tile ? query_tile + 1 : work.first_tile;
  }

  const int stride = p.qkv_stride(), rows_left = p.length - first_key;
  bfloat16* token = a.dqkv + std::int64_t{first_key} * stride;
  if (a.scratch.rotations != nullptr) turn_back(dkey, a.scratch, work.sequence, first_key);
  store_rows(token + p.qkv_offset(work.sequence, p.heads + work.kv_head), stride, rows_left, dkey,
             [&](int) { return p.scale; });
  store_rows(token + p.qkv_offset(work.sequence, p.heads + p.kv_heads + work.kv_head), stride,
             rows_left, dvalue, [](int) { return 1.0F; });
}

__global__ void __launch_bounds__(threads, 1)
    attention_backward_kernel(const __grid_constant__ CUtensorMap qkv,
                              const __grid_constant__ CUtensorMap dout,
                              const __grid_constant__ Arguments a) {
  extern __shared__ unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<Shared*>(
      (reinterpret_cast<std::uintptr_t>(shared_memory) + 1023) / 1024 * 1024);
  if (threadIdx.x == 0) {
    shared.unit = atomicAdd(a.scratch.next_unit, 1);
    shared.keys_there.create(1);
    for (int i = 0; i < 2; ++i) {
      shared.there[i].create(1);
      shared.used[i].create(256);
      shared.dquery_there[i].create(128);
      shared.dquery_gone[i].create(1);
    }
    fence_barriers();
  }
  __syncthreads();
  const Work work(a, shared.unit);
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == 0) {
    give_up_registers<40>();
    const int warp = static_cast<int>(threadIdx.x) / 32;
    if (threadIdx.x % 32 == 0) {
      if (warp == 0) fetch_tiles(shared, qkv, dout, a, work);
      if (warp == 1 || warp == 2) carry_query_gradients(shared, a, work, warp - 1);
    }
  } else {
    take_registers<232>();
    multiply(shared, a, work, group - 1);
  }
}

}  // namespace

void attention_backward(cudaStream_t stream, bfloat16* dqkv, const bfloat16* dout,
                        const bfloat16* qkv, const bfloat16* out, const float* log_sum_exp,
                        void* scratch_memory, const AttentionProblem& problem,
                        const AttentionRotation& rotation) {
  const BackwardScratch scratch(scratch_memory, problem.batch, problem.length, problem.heads,
                                !rotation.positions.empty());
  prepare_backward(stream, scratch, dout, out, log_sum_exp, problem, rotation);

  const int width = (problem.heads + 2 * problem.kv_heads) * head_dim;
  const CUtensorMap qkv_map = tensor_map(qkv, problem.batch, problem.length, width, tile);
  const CUtensorMap dout_map =
      tensor_map(dout, problem.batch, problem.length, problem.heads * head_dim, tile);
  constexpr int shared_bytes = sizeof(Shared) + 1024;
  MEMENGINE_CUDA_CHECK(cudaFuncSetAttribute(
      attention_backward_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const int blocks = problem.batch * problem.kv_heads * scratch.tiles;
  attention_backward_kernel<<<blocks, threads, shared_bytes, stream>>>(
      qkv_map, dout_map, Arguments{problem, scratch, dqkv});
  MEMENGINE_LAUNCH_CHECK("attention_backward");
  finish_query_gradient(stream, dqkv, scratch, problem);
}

}  // namespace memengine::cuda::hopper
