// Product keys on Hopper, one kernel: product, selection of both halves, pairs, softmax.
//
// A block looks up 128 tokens in one head, first half then second; each of two warpgroups has 64 of
// the tokens. Sub-keys come in chunks of 128, in panels of 64 elements that a ninth warp lets the
// copy engine fetch some panels ahead. While one warpgroup's product of a chunk runs on the tensor
// cores, the other looks through its chunk's scores, in the registers where the product left them:
//
//     for each half: twice, for each chunk: scores [64, 128] = queries x sub-keys^T   (wgmma)
//                        the first time: maxima, which give each row a bar            (lists.cuh)
//                        the second time: keep what exceeds the bar, some 43 a row
//                    sort these (team_sort.cuh)
//     pairs of both halves, softmax                                                   (combine.cuh)
#include "kernels/attention/hopper/copy_engine.cuh"
#include "kernels/attention/hopper/hopper.h"
#include "kernels/product_key/hopper/combine.cuh"
#include "kernels/product_key/hopper/hopper.h"
#include "kernels/product_key/hopper/lists.cuh"

namespace memengine::cuda::product_key::hopper {
namespace {

using cuda::hopper::Barrier;

constexpr int groups = 2;  // of 64 tokens
constexpr int warps = groups * 4;
constexpr int threads = (warps + 1) * warp_size;
constexpr int block_tokens = groups * 64;
constexpr int panel_elements = 64;
constexpr int panel_bytes = 128 * cuda::hopper::row_bytes;  // of 128 tokens or sub-keys
constexpr int panel_space = 6 * panel_bytes;  // for panels of the queries and stages of sub-keys
constexpr int most_stages = 4;

struct Problem {
  int tokens, heads, knn, n_keys, half_dim;

  __host__ __device__ int panels() const {
    return (half_dim + panel_elements - 1) / panel_elements;
  }
  __device__ int stages() const { return min(most_stages, 6 - panels()); }
  __device__ int chunks() const { return (n_keys + chunk_keys - 1) / chunk_keys; }
};

struct alignas(1024) Shared {
  unsigned char panels[panel_space];  // queries, then stages of sub-keys
  WarpLists lists[warps];
  SortedHalf first_half[warps][2];
  Barrier queries_there, queries_used, keys_there[most_stages], keys_used[most_stages];
};

__device__ void fetch(Shared& shared, const CUtensorMap& query_map, const CUtensorMap& key_map,
                      const Problem& p, int head, int first_token) {
  const int panels = p.panels(), stages = p.stages(), chunks = p.chunks();
  unsigned char* keys = shared.panels + panels * panel_bytes;
  int stage = 0, parity = 1;
  for (int half = 0; half < 2; ++half) {
    const int part = head * 2 + half;
    if (half == 1) shared.queries_used.wait(0);
    shared.queries_there.arrive_and_expect(panels * panel_bytes);
    for (int i = 0; i < panels; ++i) {
      load_box(shared.panels + i * panel_bytes, query_map, i * panel_elements, first_token, part,
               shared.queries_there);
    }
    for (int turn = 0; turn < 2 * chunks; ++turn) {
      const int chunk = turn < chunks ? turn : turn - chunks;
      for (int i = 0; i < panels; ++i) {
        shared.keys_used[stage].wait(parity);
        shared.keys_there[stage].arrive_and_expect(panel_bytes);
        load_box(keys + stage * panel_bytes, key_map, i * panel_elements, chunk * chunk_keys, part,
                 shared.keys_there[stage]);
        if (++stage == stages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
  }
}

// scores [64, 128] = the group's queries times the next chunk of sub-keys. A panel takes `steps`
// products of 16 elements.
template <int steps>
struct Products {
  Shared& shared;
  const Problem& p;
  int group, lane;
  int stage = 0, parity = 0;

  __device__ __forceinline__ void multiply(float (&scores)[64]) {
    const int panels = p.panels(), stages = p.stages();
    const unsigned char* keys = shared.panels + panels * panel_bytes;
    int before = 0;
#pragma unroll 1
    for (int i = 0; i < panels; ++i) {
      shared.keys_there[stage].wait(parity);
      const std::uint64_t a = cuda::hopper::operand(
          cuda::hopper::shared_address(shared.panels + i * panel_bytes + group * panel_bytes / 2));
      const std::uint64_t b =
          cuda::hopper::operand(cuda::hopper::shared_address(keys + stage * panel_bytes));
      cuda::hopper::wgmma_begin();
#pragma unroll
      for (int k = 0; k < steps; ++k) {
        constexpr int step = cuda::hopper::step_bytes_rows_by_k / 16;
        cuda::hopper::wgmma_64x128(scores, a + k * step, b + k * step, i > 0 || k > 0);
      }
      cuda::hopper::wgmma_commit();
      if (i > 0) {
        cuda::hopper::wgmma_wait<1>();
        if (lane == 0) shared.keys_used[before].arrive();
      }
      before = stage;
      if (++stage == stages) {
        stage = 0;
        parity ^= 1;
      }
    }
    cuda::hopper::wgmma_wait<0>(scores);
    if (lane == 0) shared.keys_used[before].arrive();
  }
};

// The first half's sorted lists have a place of their own, the second half's lie where the
// candidates of the same rows were.
__device__ __forceinline__ SortedHalf& sorted_half(Shared& shared, int warp, int half, int row) {
  static_assert(sizeof(SortedHalf) <= sizeof(WarpLists::score[0]));
  return half == 0 ? shared.first_half[warp][row]
                   : *reinterpret_cast<SortedHalf*>(shared.lists[warp].score[row]);
}

// The 32 best of a row pair's candidates, sorted.
__device__ __forceinline__ void sort_half(Shared& shared, const Candidates& candidates, int warp,
                                          int half, int lane) {
  const int member = lane % team_lanes, row = lane / team_lanes;
#pragma unroll 1
  for (int i = 0; i < 2; ++i) {
    Key keys[16];
    candidates.collect(keys, i);
    __syncwarp();
    sort_in_team<team_lanes>(keys, member);
    SortedHalf& sorted = sorted_half(shared, warp, half, i);
    if (member < 2) {
#pragma unroll
      for (int r = 0; r < 16; ++r) {
        sorted.score[row][member * 16 + r] = score_of(keys[r]);
        sorted.index[row][member * 16 + r] = static_cast<std::uint16_t>(index_of(keys[r]));
      }
    }
    __syncwarp();
  }
}

template <int steps>
__device__ void look_up(Shared& shared, std::int32_t* indices, bfloat16* weights, const Problem& p,
                        int head, int first_token) {
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int member = lane % team_lanes, row = lane / team_lanes;
  const int token = first_token + warp * 16 + row;  // and the eighth after it
  Products<steps> products{shared, p, warp / 4, lane};
  Candidates candidates(shared.lists[warp], lane, p.knn, p.n_keys);
  float scores[64];
  const int chunks = p.chunks();
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
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
      if (chunk == chunks - 1 && half == 0 && lane == 0) shared.queries_used.arrive();
      candidates.take(scores, chunk * chunk_keys);
    }
    candidates.finish();
    sort_half(shared, candidates, warp, half, lane);
  }
#pragma unroll 1
  for (int i = 0; i < 2; ++i) {
    const SortedHalf& first = sorted_half(shared, warp, 0, i);
    const SortedHalf& second = sorted_half(shared, warp, 1, i);
    const Lookup lookup{
        first.score[row], second.score[row], first.index[row], second.index[row], p.knn, p.n_keys};
    const int this_token = token + i * 8;
    const std::int64_t place = (std::int64_t{this_token} * p.heads + head) * p.knn;
    combine(indices + place, weights + place, lookup, member, this_token < p.tokens);
  }
}

template <int steps>
__global__ void __launch_bounds__(threads, 1)
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
  if (threadIdx.x / warp_size == warps) {
    if (threadIdx.x % warp_size == 0) fetch(shared, query_map, key_map, problem, head, first_token);
  } else {
    look_up<steps>(shared, indices, weights, problem, head, first_token);
  }
}

}  // namespace

bool can_run(const ProductKeyShape& shape) {
  const std::int64_t half_dim = shape.k_dim / 2;
  return shape.knn <= most_kept && half_dim % 8 == 0 && half_dim <= 256 && shape.heads <= 65535 &&
         cuda::hopper::can_run(shape.dtype, cuda::hopper::head_dim);
}

void forward(const Context& context, const ProductKeyShape& shape, Tensor indices, Tensor weights,
             Tensor query, Tensor sub_keys) {
  const auto tokens = static_cast<int>(shape.tokens);
  const auto heads = static_cast<int>(shape.heads);
  const auto half_dim = static_cast<int>(shape.k_dim / 2);
  const Problem problem{tokens, heads, static_cast<int>(shape.knn), static_cast<int>(shape.n_keys),
                        half_dim};
  // Halves are apart, so that what lies beyond an element count of 64 reads as zero.
  const CUtensorMap query_map =
      cuda::hopper::tensor_map(query.as<bfloat16>(), 2 * heads, tokens, half_dim, block_tokens,
                               half_dim, shape.heads * shape.k_dim);
  const CUtensorMap key_map = cuda::hopper::tensor_map(sub_keys.as<bfloat16>(), 2 * heads,
                                                       problem.n_keys, half_dim, chunk_keys);
  constexpr int bytes = sizeof(Shared);
  static_assert(bytes <= shared_bytes);
  const auto kernel = half_dim <= 16 ? fused_lookup_kernel<1> : fused_lookup_kernel<4>;
  MEMENGINE_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  const dim3 grid(grid_size(ceil_divide(shape.tokens, block_tokens)), static_cast<unsigned>(heads));
  kernel<<<grid, threads, bytes, context.stream>>>(query_map, key_map, indices.as<std::int32_t>(),
                                                   weights.as<bfloat16>(), problem);
  MEMENGINE_LAUNCH_CHECK("product_key_forward");
}

}  // namespace memengine::cuda::product_key::hopper
