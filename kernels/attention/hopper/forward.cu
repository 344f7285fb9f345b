// Attention forward on Hopper (after FlashAttention-3, Shah et al. 2024).
//
// A block computes 192 queries of one head at a time (128 with heads of 128); each of three (two)
// warpgroups has 64 of them. Keys come in tiles of 128, last tile first: so a row's own key is in
// its first tile, and its maximum is finite from then on. One more warpgroup lets TMA fetch tiles,
// two ahead. Where units are short, a block does several, and its next queries come while the last
// ones are being worked on. A tile's scores are multiplied while the tile before is still being
// turned into output:
//
//     S(j) = Q K(j)^T in the background    O += P(j-1) V(j-1) in the background
//     wait for S: m' = max(m, S)  P(j) = exp2(c (S - m'))  l = l exp2(c (m - m')) + sum P(j)
//     wait for O: O *= exp2(c (m - m'))
//     at the end: O / l, log_sum_exp = ln(2) (c m + log2 l)                 c = scale * log2(e)
//
// Floor, D = 64, T = 4096, causal: the matrix products (2 T^2 D flops per head over 800 TFLOP/s)
// and the exponentials (16 per clock and multiprocessor) take the same time here.
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"
#include "kernels/attention/hopper/products.cuh"
#include "kernels/device_math.cuh"
#include "kernels/runtime/cuda_check.h"

#include <algorithm>

namespace memengine::cuda::hopper {
namespace forward {
namespace {

// Warpgroups that multiply, of 64 queries each.
constexpr int group_count(int head_dim) {
  return head_dim <= 64 ? 3 : 2;
}
constexpr int thread_count(int head_dim) {
  return (group_count(head_dim) + 1) * 128;
}

template <int head_dim>
struct Shared {
  static constexpr int groups = group_count(head_dim), rows = groups * group_rows;
  static constexpr int boxes = box_count(head_dim);
  static constexpr int query_box = groups * group_bytes;

  unsigned char query[2][boxes * query_box];  // of this unit and of the next
  unsigned char key[2][boxes * tile_bytes], value[2][boxes * tile_bytes];
  Barrier queries_there[2], queries_used[2], key_there[2], value_there[2], key_used[2],
      value_used[2];
};

// In which order units, the queries of a block, are worked on: those of `together` heads, whose
// keys and values fit in the L2 cache, by their length.
struct Order {
  int together, blocks, units;
};

// A unit: key tiles end_tile - 1 down to first_tile. rows: queries of it.
struct Work {
  int sequence, head, first_query, first_tile, end_tile;

  __device__ Work(const AttentionProblem& p, const Order& order, int unit, int rows) {
    const int first = unit / (order.together * order.blocks) * order.together;
    const int members = min(order.together, p.batch * p.heads - first);
    const int i = unit - first * order.blocks;
    const int pair = first + i % members;
    sequence = pair / p.heads;
    head = pair % p.heads;
    first_query = (order.blocks - 1 - i / members) * rows;
    first_tile = p.first_key(sequence, first_query) / tile;
    end_tile = (min(first_query + rows, p.length) + tile - 1) / tile;
  }
};
// Calls visit(work) for each unit of this block. Longer units come first; a round over the blocks
// is dealt forwards and the next one backwards.
template <typename Visit>
__device__ void for_each_unit(const AttentionProblem& p, const Order& order, int rows,
                              const Visit& visit) {
  const int blocks = static_cast<int>(gridDim.x), block = static_cast<int>(blockIdx.x);
  for (int i = 0; i * blocks < order.units; ++i) {
    const int unit = i * blocks + (i % 2 == 0 ? block : blocks - 1 - block);
    if (unit < order.units) visit(Work(p, order, unit, rows));
  }
}

template <int head_dim>
__device__ void fetch_tiles(Shared<head_dim>& shared, const CUtensorMap& query_map,
                            const CUtensorMap& key_map, const AttentionProblem& p,
                            const Order& order) {
  using S = Shared<head_dim>;
  int count = 0, item = 0;
  for_each_unit(p, order, S::rows, [&](const Work& work) {
    const int kv_head = work.head / p.group();
    const int key_column = (p.heads + kv_head) * head_dim;
    const int value_column = (p.heads + p.kv_heads + kv_head) * head_dim;
    const auto fetch = [&](unsigned char* to, int box_bytes, const CUtensorMap& map, int column,
                           int row, Barrier& there) {
      there.arrive_and_expect(S::boxes * box_bytes);
#pragma unroll
      for (int box = 0; box < S::boxes; ++box)
        load_box(to + box * box_bytes, map, column + box * box_columns, row, work.sequence, there);
    };
    const int slot = item % 2;
    shared.queries_used[slot].wait((item / 2 + 1) % 2);
    ++item;
    fetch(shared.query[slot], S::query_box, query_map, work.head * head_dim, work.first_query,
          shared.queries_there[slot]);
#pragma unroll 1
    for (int i = work.end_tile - 1; i >= work.first_tile; --i, ++count) {
      const int stage = count % 2, parity = (count / 2 + 1) % 2;
      shared.key_used[stage].wait(parity);
      fetch(shared.key[stage], tile_bytes, key_map, key_column, i * tile, shared.key_there[stage]);
      shared.value_used[stage].wait(parity);
      fetch(shared.value[stage], tile_bytes, key_map, value_column, i * tile,
            shared.value_there[stage]);
    }
  });
}

// Two rows per lane: l/4 and l/4 + 8 of its warp's 16.
struct Rows {
  float maximum[2] = {-INFINITY, -INFINITY};
  float sum[2] = {};  // of this lane's columns
};

// Turns scores into probabilities relative to the row's maximum so far. Returns by how much what
// was summed before has to shrink.
__device__ inline float2 softmax(float (&s)[64], Rows& rows, float c) {
  float shrink[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float maximum = rows.maximum[half];
#pragma unroll
    for (int i = 0; i < 64; i += 4)
      maximum = fmaxf(maximum, fmaxf(s[i + 2 * half], s[i + 2 * half + 1]));
    maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffU, maximum, 1));
    maximum = fmaxf(maximum, __shfl_xor_sync(0xffffffffU, maximum, 2));
    const float offset = maximum * c;
    shrink[half] = exp2_fast(rows.maximum[half] * c - offset);
    rows.maximum[half] = maximum;
    float sums[2] = {};
#pragma unroll
    for (int i = 0; i < 64; i += 4) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float& value = s[i + 2 * half + j];
        value = exp2_fast(value * c - offset);
        sums[j] += value;
      }
    }
    rows.sum[half] = rows.sum[half] * shrink[half] + (sums[0] + sums[1]);
  }
  return make_float2(shrink[0], shrink[1]);
}

__device__ inline void pack(std::uint32_t (&probability)[32], const float (&s)[64]) {
#pragma unroll
  for (int i = 0; i < 64; i += 2) probability[i / 2] = pack_bf16(s[i], s[i + 1]);
}

// Scores of keys that a query does not see become minus infinity. `hides`: there may be hidden keys
// below the query's own.
template <bool hides>
__device__ inline void mask_scores(float (&s)[64], const AttentionProblem& p, int sequence,
                                   int first_query, int first_key) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = first_query + warp * 16 + lane / 4 + half * 8;
    const int lowest = p.first_key(sequence, query);
    const int2 hidden = hides ? p.hidden_keys(sequence, query) : int2{0, 0};
#pragma unroll
    for (int i = 0; i < 64; i += 4)
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int key = first_key + i / 4 * 8 + lane % 4 * 2 + j;
        if (key > query || key < lowest || (hides && key >= hidden.x && key < hidden.y))
          s[i + 2 * half + j] = -INFINITY;
      }
  }
}

template <int head_dim, bool hides>
__device__ void multiply(Shared<head_dim>& shared, bfloat16* out, float* log_sum_exp,
                         const AttentionProblem& p, const Work& work, int group, int item,
                         int& count) {
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
  const int first_query = work.first_query + group * group_rows;
  constexpr int boxes = box_count(head_dim), columns = sums_of_box(head_dim);
  constexpr int query_box = Shared<head_dim>::query_box;
  const int slot = item % 2;
  const unsigned char* query = shared.query[slot] + group * group_bytes;
  const float c = p.scale * log2_e;
  // The tiles that this group's queries see; it lets the others pass.
  const int last_tile = __shfl_sync(0xffffffffU, min(first_query / tile, work.end_tile - 1), 0);
  const int first_tile =
      __shfl_sync(0xffffffffU, p.first_key(work.sequence, first_query) / tile, 0);
  const int seen_by_all =  // keys from here on are not below any query's bound
      p.first_key(work.sequence, first_query + group_rows - 1);
  const auto masked = [&](int i) {
    return hides || (i + 1) * tile - 1 > first_query || i * tile < seen_by_all;
  };

  const auto skip = [&] {
    shared.key_there[count % 2].wait(count / 2 % 2);
    shared.value_there[count % 2].wait(count / 2 % 2);
    __syncwarp();
    if (lane == 0) {
      shared.key_used[count % 2].arrive();
      shared.value_used[count % 2].arrive();
    }
    ++count;
  };
  for (int i = work.end_tile - 1; i > last_tile; --i) skip();

  Rows rows;
  float s[64], output[boxes][columns] = {};
  std::uint32_t probability[32];
  shared.queries_there[slot].wait(item / 2 % 2);
  shared.key_there[count % 2].wait(count / 2 % 2);
  wgmma_begin();
  multiply_rows<head_dim>(s, query, query_box, shared.key[count % 2], tile_bytes);
  wgmma_commit();
  wgmma_wait<0>(s);
  if (lane == 0) shared.key_used[count % 2].arrive();
  if (masked(last_tile)) mask_scores<hides>(s, p, work.sequence, first_query, last_tile * tile);
  softmax(s, rows, c);
  pack(probability, s);

  for (int i = last_tile - 1; i >= first_tile; --i) {
    const int before = count % 2;
    const int before_parity = count / 2 % 2;
    ++count;
    const int stage = count % 2;
    shared.key_there[stage].wait(count / 2 % 2);
    wgmma_begin();
    multiply_rows<head_dim>(s, query, query_box, shared.key[stage], tile_bytes);
    wgmma_commit();
    shared.value_there[before].wait(before_parity);
    wgmma_begin();
    accumulate(output, probability, shared.value[before], tile_bytes);
    wgmma_commit();

    wgmma_wait<1>(s);
    if (lane == 0) shared.key_used[stage].arrive();
    if (masked(i)) mask_scores<hides>(s, p, work.sequence, first_query, i * tile);
    const float2 shrink = softmax(s, rows, c);
    wgmma_wait<0>(output);
    if (lane == 0) shared.value_used[before].arrive();
#pragma unroll
    for (int box = 0; box < boxes; ++box)
#pragma unroll
      for (int j = 0; j < columns; ++j) output[box][j] *= j / 2 % 2 == 0 ? shrink.x : shrink.y;
    pack(probability, s);
  }
  if (lane == 0) shared.queries_used[slot].arrive();
  shared.value_there[count % 2].wait(count / 2 % 2);
  wgmma_begin();
  accumulate(output, probability, shared.value[count % 2], tile_bytes);
  wgmma_commit();
  wgmma_wait<0>(output);
  if (lane == 0) shared.value_used[count % 2].arrive();
  ++count;
  for (int i = min(first_tile, last_tile) - 1; i >= work.first_tile; --i) skip();

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = rows.sum[half];
    sum += __shfl_xor_sync(0xffffffffU, sum, 1);
    sum += __shfl_xor_sync(0xffffffffU, sum, 2);
    const int row = first_query + warp * 16 + lane / 4 + half * 8;
    rows.sum[half] = sum;
    if (row < p.length && lane % 4 == 0)
      log_sum_exp[p.row_offset(work.sequence, work.head) + row] =
          (rows.maximum[half] * c + log2f(sum)) * ln_2;
  }
  store_rows(
      out + p.out_offset(work.sequence, work.head) + std::int64_t{first_query} * p.out_stride(),
      p.out_stride(), p.length - first_query, output,
      [&](int half) { return 1.0F / rows.sum[half]; });
}

template <int head_dim, bool hides>
__global__ void __launch_bounds__(thread_count(head_dim), 1)
    attention_forward_kernel(const __grid_constant__ CUtensorMap query_map,
                             const __grid_constant__ CUtensorMap key_map, bfloat16* out,
                             float* log_sum_exp, const __grid_constant__ AttentionProblem problem,
                             const Order order) {
  constexpr int groups = group_count(head_dim);
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<Shared<head_dim>*>(shared_memory);
  if (threadIdx.x == 0) {
    if (shared_address(shared_memory) % 1024 != 0) __trap();  // operands need it
    for (int i = 0; i < 2; ++i) {
      shared.queries_there[i].create(1);
      shared.queries_used[i].create(groups * 4);
      shared.key_there[i].create(1);
      shared.value_there[i].create(1);
      shared.key_used[i].create(groups * 4);
      shared.value_used[i].create(groups * 4);
    }
    fence_barriers();
  }
  __syncthreads();
  const int group = static_cast<int>(threadIdx.x) / 128;
  if (group == groups) {
    give_up_registers<head_dim <= 64 ? 32 : 40>();
    if (threadIdx.x == groups * 128) fetch_tiles(shared, query_map, key_map, problem, order);
  } else {
    take_registers<head_dim <= 64 ? 160 : 232>();
    int count = 0, item = 0;
    for_each_unit(problem, order, groups * group_rows, [&](const Work& work) {
      multiply<head_dim, hides>(shared, out, log_sum_exp, problem, work, group, item++, count);
    });
  }
}

template <int head_dim>
void run(cudaStream_t stream, bfloat16* out, float* log_sum_exp, const bfloat16* qkv,
         const AttentionProblem& p) {
  using S = Shared<head_dim>;
  const int width = (p.heads + 2 * p.kv_heads) * head_dim;
  const CUtensorMap query_map = tensor_map(qkv, p.batch, p.length, width, S::rows);
  const CUtensorMap key_map = tensor_map(qkv, p.batch, p.length, width, tile);
  constexpr int shared_bytes = sizeof(S);
  static_assert(shared_bytes <= 227 * 1024);
  const auto kernel = p.hidden == nullptr ? attention_forward_kernel<head_dim, false>
                                          : attention_forward_kernel<head_dim, true>;
  MEMENGINE_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const int pairs = p.batch * p.heads;
  const int blocks = (p.length + S::rows - 1) / S::rows;
  const int units = pairs * blocks;
  const std::int64_t pair_bytes =  // keys and values
      std::int64_t{4} * head_dim * p.length * p.kv_heads / p.heads + 1;
  const Order order{fitting_in_cache(pair_bytes, pairs), blocks, units};
  // Long units go one by one to whichever multiprocessor is free: shares dealt beforehand end
  // apart.
  constexpr int longest_dealt = 2048;
  const int grid = p.length > longest_dealt ? units : std::min(units, multiprocessors());
  kernel<<<grid, thread_count(head_dim), shared_bytes, stream>>>(query_map, key_map, out,
                                                                 log_sum_exp, p, order);
  MEMENGINE_LAUNCH_CHECK("attention_forward");
}

}  // namespace
}  // namespace forward

void attention_forward(cudaStream_t stream, bfloat16* out, float* log_sum_exp, const bfloat16* qkv,
                       const AttentionProblem& problem) {
  const auto run = problem.head_dim == 32   ? forward::run<32>
                   : problem.head_dim == 64 ? forward::run<64>
                                            : forward::run<128>;
  run(stream, out, log_sum_exp, qkv, problem);
}

}  // namespace memengine::cuda::hopper
