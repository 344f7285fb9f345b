// Product keys on Hopper, one kernel: product, selection of both halves, pairs, softmax.
//
// A block looks up 128 tokens in one head, first half then second; each of two warpgroups has 64 of
// the tokens. While one warpgroup's product of a chunk of 128 sub-keys runs on the tensor cores,
// others look through their chunks' scores, in the registers where the product left them:
//
//     for each half: twice, for each chunk: scores [64, 128] = queries x sub-keys^T
//     (key_stream.cuh)
//                        the first time: column maxima, which give each row a bar        (bars.cuh)
//                        the second time: keep what exceeds the bar, some 37 per row (lists.cuh)
//                    sort these, by short keys                 (best_of_half.cuh, short_key.cuh)
//     pairs of both halves, softmax                                                   (combine.cuh)
//
// Little here waits for memory, but every step waits for the one before, so what counts is how many
// instructions a warp runs, and how many warps a multiprocessor has: registers and shared memory
// are held to what two blocks can have. The first half's sorted lists, for which there is no room,
// wait in the output: a row and a weight of a pick take as many bytes as a score and an index.
#include "kernels/attention/hopper/hopper.h"
#include "kernels/product_key/hopper/best_of_half.cuh"
#include "kernels/product_key/hopper/hopper.h"

namespace memengine::cuda::product_key::hopper {
namespace {

constexpr int shared_bytes_of_two = 113 * 1024;  // what a block may have where there are two

// Panels of the queries and places for panels of sub-keys come after it.
struct alignas(1024) Shared {
  WarpLists lists[warps];
  KeyRing ring;
};

struct Output {
  std::int32_t* indices;
  bfloat16* weights;

  __device__ std::int32_t* first_of(const Problem& p, int head, int token) const {
    return indices + (std::int64_t{token} * p.heads + head) * p.knn;
  }
};

// Columns past the last key are worse than all others.
__device__ __forceinline__ void hide_missing(float (&scores)[64], int first_key, int n_keys,
                                             int lane) {
  if (first_key + chunk_keys <= n_keys) return;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    if (first_key + lane % 4 * 2 + i / 4 * 8 + i % 2 >= n_keys) scores[i] = -INFINITY;
  }
}

// Returns whether no list of the block overflowed.
template <int panels, int steps, bool careful>
__device__ __forceinline__ bool look_up(Shared& shared, const Maps& maps, const Output& output,
                                        const Problem& p, int head, int first_token) {
  // From one lane, so that the compiler knows it to be the same in all.
  const int warp = shuffle(static_cast<int>(threadIdx.x) / warp_size, 0);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int part = part_of(lane % team_lanes), row = lane / team_lanes;
  const int token = first_token + warp * 16 + row;  // and the eighth after it
  WarpLists& lists = shared.lists[warp];
  KeyStream<panels, steps> stream{
      shared.ring, reinterpret_cast<unsigned char*>(&shared + 1), maps, p, head, first_token, warp,
      lane};
  stream.start();
  Candidates candidates(lists, lane, p.knn);
  // The second half's sorted lists stand where the scores of the same rows were, the first half's,
  // for one of the rows after the other, where the indices were.
  static_assert(sizeof(SortedHalf) <= sizeof(lists.score[0]));
  static_assert(sizeof(SortedHalf) <= sizeof(lists.index));
  const auto place_of = [&](int i) {
    return (std::int64_t{token + i * 8} * p.heads + head) * p.knn;
  };
  const int chunks = p.chunks();
  bool complete = true;
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    float scores[64];
    ColumnMaxima maxima;
    maxima.start();
    stream.wait_for_queries(half);
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      stream.multiply(scores);
      hide_missing(scores, chunk * chunk_keys, p.n_keys, lane);
      maxima.see(scores);
    }
    candidates.start(maxima.bars(), token < p.tokens, token + 8 < p.tokens);
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      stream.multiply(scores);
      hide_missing(scores, chunk * chunk_keys, p.n_keys, lane);
      candidates.template take<careful>(scores, chunk * chunk_keys);
      if (!careful && chunk < chunks - 1) candidates.make_room(p.most_between_chunks);
    }
    if (half == 0) stream.take_second_half();
    complete = candidates.complete() && complete;
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const Best best = best_of(candidates, i, lane);
      if (half == 1) {
        __syncwarp();
        put_into(*reinterpret_cast<SortedHalf*>(lists.score[i]), best, row, part);
      } else if (token + i * 8 < p.tokens) {
        put_aside(output.indices + place_of(i), output.weights + place_of(i), best, p.knn, part);
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
    if (exists) {
      fetch_back(best, output.indices + place_of(i), output.weights + place_of(i), p.knn, part);
    }
    put_into(first, best, row, part);
    __syncwarp();
    const Lookup lookup{
        first.score[row], second.score[row], first.index[row], second.index[row], p.knn, p.n_keys};
    combine(output.indices + place_of(i), output.weights + place_of(i), lookup, lane % team_lanes,
            exists);
    __syncwarp();
  }
  return careful || __syncthreads_and(complete ? 1 : 0) != 0;
}

// Problem::most_between_chunks. Of the 32 places of two lanes, what is left must do for the
// candidates of one more chunk: five on average where there are four chunks, two where there are
// eight. To sort out a row's lists costs as much as some 50 columns of a chunk.
constexpr int most_between(int chunks) {
  return chunks <= 4 ? 22 : (chunks <= 16 ? 24 : 26);
}

// A block whose lists overflowed leaves this where its first row should be.
constexpr std::int32_t incomplete = -1;

// Dynamic shared memory alone starts at a multiple of 1024.
__device__ __forceinline__ Shared& shared_of_block() {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  return *reinterpret_cast<Shared*>(shared_memory);
}

template <int panels, int steps>
__global__ void __launch_bounds__(threads, 2)
    fused_lookup_kernel(const __grid_constant__ CUtensorMap query_map,
                        const __grid_constant__ CUtensorMap key_map, Output output,
                        const __grid_constant__ Problem problem) {
  Shared& shared = shared_of_block();
  if (threadIdx.x == 0) shared.ring.create();
  __syncthreads();
  const int head = static_cast<int>(blockIdx.y);
  const int first_token = static_cast<int>(blockIdx.x) * block_tokens;
  const bool complete = look_up<panels, steps, false>(shared, {query_map, key_map}, output, problem,
                                                      head, first_token);
  if (!complete && threadIdx.x == 0) *output.first_of(problem, head, first_token) = incomplete;
}

// Does the work of such blocks once more.
template <int panels, int steps>
__global__ void __launch_bounds__(threads, 2)
    careful_lookup_kernel(const __grid_constant__ CUtensorMap query_map,
                          const __grid_constant__ CUtensorMap key_map, Output output,
                          const __grid_constant__ Problem problem) {
  Shared& shared = shared_of_block();
  const int head = static_cast<int>(blockIdx.y);
  const int first_token = static_cast<int>(blockIdx.x) * block_tokens;
  if (*output.first_of(problem, head, first_token) != incomplete) return;
  if (threadIdx.x == 0) shared.ring.create();
  __syncthreads();
  look_up<panels, steps, true>(shared, {query_map, key_map}, output, problem, head, first_token);
}

}  // namespace

bool can_run(const ProductKeyShape& shape) {
  const std::int64_t half_dim = shape.k_dim / 2;
  return shape.knn <= most_kept && half_dim % 8 == 0 && half_dim <= 256 && shape.heads <= 65535 &&
         cuda::hopper::can_run(shape.dtype, 64);
}

void forward(const Context& context, const ProductKeyShape& shape, Tensor indices, Tensor weights,
             Tensor query, Tensor sub_keys) {
  const auto tokens = static_cast<int>(shape.tokens);
  const auto heads = static_cast<int>(shape.heads);
  const auto half_dim = static_cast<int>(shape.k_dim / 2);
  // Three panels do as four, the last one zeros.
  const int panels = half_dim <= 64 ? 1 : (half_dim <= 128 ? 2 : 4);
  const auto bytes_of = [&](int places) {
    return static_cast<int>(sizeof(Shared)) + (panels + places) * panel_bytes;
  };
  static_assert(sizeof(Shared) + 2 * 4 * panel_bytes <= shared_bytes);
  const std::int64_t room =
      bytes_of(panels) <= shared_bytes_of_two ? shared_bytes_of_two : shared_bytes;
  int places = most_places;
  while (bytes_of(places) > room) --places;
  const int bytes = bytes_of(places);
  const auto chunks = static_cast<int>(ceil_divide(shape.n_keys, chunk_keys));
  const Problem problem{tokens,
                        heads,
                        static_cast<int>(shape.knn),
                        static_cast<int>(shape.n_keys),
                        places,
                        most_between(chunks)};
  // Halves are apart, so that what lies beyond an element count of 64 reads as zero.
  const CUtensorMap query_map =
      cuda::hopper::tensor_map(query.as<bfloat16>(), 2 * heads, tokens, half_dim, block_tokens,
                               half_dim, shape.heads * shape.k_dim);
  const CUtensorMap key_map = cuda::hopper::tensor_map(sub_keys.as<bfloat16>(), 2 * heads,
                                                       problem.n_keys, half_dim, chunk_keys);
  const dim3 grid(grid_size(ceil_divide(shape.tokens, block_tokens)), static_cast<unsigned>(heads));
  const auto run = [&]<int panel_count, int steps>() {
    const auto launch = [&](auto* kernel) {
      MEMENGINE_CUDA_CHECK(
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
      // Without this the driver may give the L1 cache what the second block needs.
      MEMENGINE_CUDA_CHECK(cudaFuncSetAttribute(
          kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
      kernel<<<grid, threads, bytes, context.stream>>>(
          query_map, key_map, Output{indices.as<std::int32_t>(), weights.as<bfloat16>()}, problem);
    };
    launch(fused_lookup_kernel<panel_count, steps>);
    launch(careful_lookup_kernel<panel_count, steps>);
  };
  if (half_dim <= 16)
    run.template operator()<1, 1>();
  else if (panels == 1)
    run.template operator()<1, 4>();
  else if (panels == 2)
    run.template operator()<2, 4>();
  else
    run.template operator()<4, 4>();
  MEMENGINE_LAUNCH_CHECK("product_key_forward");
}

}  // namespace memengine::cuda::product_key::hopper
