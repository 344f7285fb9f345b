// Product keys on Hopper where there are many sub-keys: one kernel, which needs no second one.
//
// As hopper/forward.cu, but lists that fill up are sorted out where they are: with thousands of
// sub-keys it costs more to compute a lookup's scores once more than to look out for full lists.
//
// A block looks up 128 tokens in one head, first half then second; each of two warpgroups has 64 of
// the tokens. Sub-keys come in chunks of 64, which one thread lets the copy engine fetch ahead.
// While one warpgroup's product of a chunk runs on the tensor cores, others look through their
// chunks' scores, in the registers where the product left them:
//
//     for each half: twice, for each chunk: scores [64, 64] = queries x sub-keys^T    (wgmma)
//                        the first time: maxima, which give each row a bar            (lists.cuh)
//                        the second time: keep what exceeds the bar, some 43 per row
//                    sort these, by short keys (short_key.cuh, team_sort.cuh)
//     pairs of both halves, softmax                                                   (combine.cuh)
//
// Little here waits for memory, but every step waits for the one before, so what counts is how many
// warps there are per multiprocessor: registers and shared memory are held to what two blocks can
// have. The first half's sorted lists, for which there is no room, wait in the output: a row and a
// weight of a pick take as many bytes as a score and an index.
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"
#include "kernels/product_key/hopper/combine.cuh"
#include "kernels/product_key/hopper/hopper.h"
#include "kernels/product_key/hopper/launch.h"
#include "kernels/product_key/hopper/many_keys/lists.cuh"

namespace memengine::cuda::product_key::hopper::many_keys {
namespace {

using cuda::hopper::Barrier;

constexpr int groups = 2;  // of 64 tokens
constexpr int warps = groups * 4;
constexpr int threads = warps * warp_size;
constexpr int block_tokens = groups * 64;
constexpr int panel_elements = 64;
constexpr int query_panel_bytes = block_tokens * cuda::hopper::row_bytes;
constexpr int key_panel_bytes = chunk_keys * cuda::hopper::row_bytes;
constexpr int most_stages = 4;  // chunks of sub-keys in shared memory
struct Problem {
  int tokens, heads, knn, n_keys, half_dim, stages;

  __host__ __device__ int panels() const {
    return (half_dim + panel_elements - 1) / panel_elements;
  }
  __device__ int chunks() const { return (n_keys + chunk_keys - 1) / chunk_keys; }
};

// Panels of the queries and stages of sub-keys come after it.
struct alignas(1024) Shared {
  WarpLists lists[warps];
  Barrier queries_there, queries_used, keys_there[most_stages], keys_used[most_stages];

  __device__ unsigned char* queries() { return reinterpret_cast<unsigned char*>(this + 1); }
  __device__ unsigned char* keys(const Problem& p, int stage) {
    return queries() + p.panels() * (query_panel_bytes + stage * key_panel_bytes);
  }
};

struct Maps {
  const CUtensorMap& query;
  const CUtensorMap& keys;
};

// scores [64, 64] = the group's queries times a chunk of sub-keys, of one chunk after the other:
// turn 0 is the first chunk, for the maxima, then come all chunks again, then the second half's. A
// panel takes `steps` products of 16 elements.
template <int steps>
struct Products {
  Shared& shared;
  const Maps& maps;
  const Problem& p;
  int head, first_token, warp, lane;
  int turn = 0, stage = 0, parity = 0, next_stage = 0, next_parity = 0;

  __device__ __forceinline__ void start() {
    if (threadIdx.x != 0) return;
    fetch_queries(0);
    for (int i = 0; i < min(p.stages, 4 * p.chunks()); ++i) fetch_keys(i, i);
  }

  // After the last product of the first half.
  __device__ __forceinline__ void take_second_half() {
    if (lane == 0) shared.queries_used.arrive();
    if (threadIdx.x == 0) {
      shared.queries_used.wait(0);
      fetch_queries(1);
    }
    __syncwarp();
  }

  __device__ __forceinline__ void multiply(float (&scores)[32]) {
    shared.keys_there[stage].wait(parity);
    std::uint64_t a = cuda::hopper::operand(
        cuda::hopper::shared_address(shared.queries() + warp / 4 * (query_panel_bytes / 2)));
    std::uint64_t b = cuda::hopper::operand(cuda::hopper::shared_address(shared.keys(p, stage)));
#pragma unroll 1
    for (int i = 0; i < p.panels(); ++i) {
      cuda::hopper::wgmma_begin();
#pragma unroll
      for (int k = 0; k < steps; ++k) {
        constexpr int step = cuda::hopper::step_bytes_rows_by_k / 16;
        cuda::hopper::wgmma_64x64_rows_by_k(scores, a + k * step, b + k * step, i > 0 || k > 0);
      }
      cuda::hopper::wgmma_commit();
      a += query_panel_bytes / 16;
      b += key_panel_bytes / 16;
    }
    cuda::hopper::wgmma_wait<0>(scores);
    if (lane == 0) shared.keys_used[stage].arrive();
    if (++stage == p.stages) {
      stage = 0;
      parity ^= 1;
    }
    refill();
  }

 private:
  // Fetches a chunk into the place of the one before the last, which all warps have used by now,
  // most likely; where there is only one place, of the last.
  __device__ __forceinline__ void refill() {
    const int free_turn = p.stages > 1 ? turn - 1 : turn;
    ++turn;
    if (warp != 0 || free_turn < 0 || free_turn + p.stages >= 4 * p.chunks()) return;
    if (lane == 0) {
      shared.keys_used[next_stage].wait(next_parity);
      fetch_keys(free_turn + p.stages, next_stage);
    }
    __syncwarp();
    if (++next_stage == p.stages) {
      next_stage = 0;
      next_parity ^= 1;
    }
  }

  __device__ __forceinline__ void fetch_queries(int half) {
    shared.queries_there.arrive_and_expect(p.panels() * query_panel_bytes);
    for (int i = 0; i < p.panels(); ++i) {
      load_box(shared.queries() + i * query_panel_bytes, maps.query, i * panel_elements,
               first_token, head * 2 + half, shared.queries_there);
    }
  }
  __device__ __forceinline__ void fetch_keys(int of_turn, int to) {
    const int chunks = p.chunks(), half = of_turn >= 2 * chunks ? 1 : 0;
    int chunk = of_turn - half * 2 * chunks;
    if (chunk >= chunks) chunk -= chunks;
    shared.keys_there[to].arrive_and_expect(p.panels() * key_panel_bytes);
    for (int i = 0; i < p.panels(); ++i) {
      load_box(shared.keys(p, to) + i * key_panel_bytes, maps.keys, i * panel_elements,
               chunk * chunk_keys, head * 2 + half, shared.keys_there[to]);
    }
  }
};

// The best of one half for a row pair's first or second rows: what a lane has, eight of its
// row's 32.
struct Best {
  float score[8];
  Pack<std::uint16_t, 8> index;
};

__device__ __forceinline__ Best best_of(const Candidates& candidates, int i, int lane) {
  const int member = lane % team_lanes, source = (lane & ~3) + member / 2;
  Best best;
  ShortKey keys[16];
  candidates.collect(keys, i);
  sort_in_team<team_lanes>(keys, member);
  // Can all that were kept be told apart, and from the next one?
  const ShortKey next_member = __shfl_down_sync(all_lanes, keys[0], 1);
  bool tie = false;
#pragma unroll
  for (int r = 0; r < 16; ++r) {
    const ShortKey next = r < 15 ? keys[(r + 1) % 16] : next_member;
    tie = tie || (next != 0 && score_bits(next) == score_bits(keys[r]));
  }
  if (!__any_sync(all_lanes, tie && member < 2)) {
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const ShortKey even = shuffle(keys[r], source), odd = shuffle(keys[r + 8], source);
      const ShortKey tag = tag_of(member % 2 == 0 ? even : odd);
      best.score[r] = candidates.score_at(i, tag);
      best.index.element[r] = candidates.index_at(i, tag);
    }
    return best;
  }
  Key whole[16];
  candidates.collect(whole, i);
  sort_in_team<team_lanes>(whole, member);
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const Key even = shuffle(whole[r], source), odd = shuffle(whole[r + 8], source);
    const Key key = member % 2 == 0 ? even : odd;
    best.score[r] = score_of(key);
    best.index.element[r] = static_cast<std::uint16_t>(index_of(key));
  }
  return best;
}

// The first half's lists wait where the picks of the same lookup will stand.
__device__ __forceinline__ void put_aside(std::int32_t* indices, bfloat16* weights,
                                          const Best& best, int knn, int member) {
  auto* scores = reinterpret_cast<float*>(indices);
  auto* keys = reinterpret_cast<std::uint16_t*>(weights);
  if (knn == kept_keys) {
    store(scores + member * 8, best.score);
    *reinterpret_cast<Pack<std::uint16_t, 8>*>(keys + member * 8) = best.index;
    return;
  }
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    if (member * 8 + r >= knn) continue;
    scores[member * 8 + r] = best.score[r];
    keys[member * 8 + r] = best.index.element[r];
  }
}
__device__ __forceinline__ void fetch_back(Best& best, const std::int32_t* indices,
                                           const bfloat16* weights, int knn, int member) {
  const auto* scores = reinterpret_cast<const float*>(indices);
  const auto* keys = reinterpret_cast<const std::uint16_t*>(weights);
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const bool there = member * 8 + r < knn;
    best.score[r] = there ? scores[member * 8 + r] : 0.0F;
    best.index.element[r] = there ? keys[member * 8 + r] : std::uint16_t{0};
  }
}

__device__ __forceinline__ void put_into(SortedHalf& sorted, const Best& best, int row,
                                         int member) {
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    sorted.score[row][member * 8 + r] = best.score[r];
    sorted.index[row][member * 8 + r] = best.index.element[r];
  }
}

template <int steps>
__device__ __forceinline__ void look_up(Shared& shared, const Maps& maps, std::int32_t* indices,
                                        bfloat16* weights, const Problem& p, int head,
                                        int first_token) {
  // From one lane, so that the compiler knows it to be the same in all.
  const int warp = shuffle(static_cast<int>(threadIdx.x) / warp_size, 0);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int member = lane % team_lanes, row = lane / team_lanes;
  const int token = first_token + warp * 16 + row;  // and the eighth after it
  WarpLists& lists = shared.lists[warp];
  Products<steps> products{shared, maps, p, head, first_token, warp, lane};
  products.start();
  __syncwarp();
  Candidates candidates(lists, lane, p.knn, p.n_keys);
  // The second half's sorted lists stand where the scores of the same rows were, the first half's,
  // for one of the rows after the other, where the indices were.
  static_assert(sizeof(SortedHalf) <= sizeof(lists.score[0]));
  static_assert(sizeof(SortedHalf) <= sizeof(lists.index));
  const auto place_of = [&](int i) {
    return (std::int64_t{token + i * 8} * p.heads + head) * p.knn;
  };
  const int chunks = p.chunks();
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    float scores[32];
    candidates.start(token < p.tokens, token + 8 < p.tokens);
    shared.queries_there.wait(half);
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      products.multiply(scores);
      candidates.see(scores, chunk * chunk_keys);
    }
    candidates.raise_bars();
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      products.multiply(scores);
      candidates.take(scores, chunk * chunk_keys);
    }
    if (half == 0) products.take_second_half();
    candidates.finish();
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const Best best = best_of(candidates, i, lane);
      if (half == 1) {
        __syncwarp();
        put_into(*reinterpret_cast<SortedHalf*>(lists.score[i]), best, row, member);
      } else if (token + i * 8 < p.tokens) {
        put_aside(indices + place_of(i), weights + place_of(i), best, p.knn, member);
      }
    }
    __syncwarp();
  }
  SortedHalf& first = *reinterpret_cast<SortedHalf*>(lists.index);
#pragma unroll 1
  for (int i = 0; i < 2; ++i) {
    const SortedHalf& second = *reinterpret_cast<SortedHalf*>(lists.score[i]);
    const bool exists = token + i * 8 < p.tokens;
    Best best{};
    if (exists) fetch_back(best, indices + place_of(i), weights + place_of(i), p.knn, member);
    put_into(first, best, row, member);
    __syncwarp();
    const Lookup lookup{
        first.score[row], second.score[row], first.index[row], second.index[row], p.knn, p.n_keys};
    combine(indices + place_of(i), weights + place_of(i), lookup, member, exists);
    __syncwarp();
  }
}

template <int steps>
__global__ void __launch_bounds__(threads, 2)
    fused_lookup_kernel(const __grid_constant__ CUtensorMap query_map,
                        const __grid_constant__ CUtensorMap key_map, std::int32_t* indices,
                        bfloat16* weights, const __grid_constant__ Problem problem) {
  // Dynamic shared memory alone starts at a multiple of 1024.
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  auto& shared = *reinterpret_cast<Shared*>(shared_memory);
  if (threadIdx.x == 0) {
    shared.queries_there.create(1);
    shared.queries_used.create(warps);
    for (int i = 0; i < most_stages; ++i) {
      shared.keys_there[i].create(1);
      shared.keys_used[i].create(warps);
    }
    cuda::hopper::fence_barriers();
  }
  __syncthreads();
  const int head = static_cast<int>(blockIdx.y);
  const int first_token = static_cast<int>(blockIdx.x) * block_tokens;
  look_up<steps>(shared, {query_map, key_map}, indices, weights, problem, head, first_token);
}

}  // namespace

void forward(const Context& context, const ProductKeyShape& shape, Tensor indices, Tensor weights,
             Tensor query, Tensor sub_keys) {
  const auto tokens = static_cast<int>(shape.tokens);
  const auto heads = static_cast<int>(shape.heads);
  const auto half_dim = static_cast<int>(shape.k_dim / 2);
  Problem problem{tokens,   heads,      static_cast<int>(shape.knn), static_cast<int>(shape.n_keys),
                  half_dim, most_stages};
  const auto bytes_of = [&](int stages) {
    return static_cast<int>(sizeof(Shared)) + problem.panels() * query_panel_bytes +
           stages * problem.panels() * key_panel_bytes;
  };
  static_assert(sizeof(Shared) + 4 * (query_panel_bytes + key_panel_bytes) <= shared_bytes);
  const std::int64_t room = bytes_of(1) <= shared_bytes_of_two ? shared_bytes_of_two : shared_bytes;
  while (bytes_of(problem.stages) > room) --problem.stages;
  const int bytes = bytes_of(problem.stages);
  const CUtensorMap query_map = map_of_queries(shape, query, block_tokens);
  const CUtensorMap key_map = map_of_sub_keys(shape, sub_keys, chunk_keys);
  const auto kernel = half_dim <= 16 ? fused_lookup_kernel<1> : fused_lookup_kernel<4>;
  allow_shared_bytes(kernel, bytes);
  const dim3 grid(grid_size(ceil_divide(shape.tokens, block_tokens)), static_cast<unsigned>(heads));
  kernel<<<grid, threads, bytes, context.stream>>>(query_map, key_map, indices.as<std::int32_t>(),
                                                   weights.as<bfloat16>(), problem);
  MEMENGINE_LAUNCH_CHECK("product_key_forward");
}

}  // namespace memengine::cuda::product_key::hopper::many_keys
