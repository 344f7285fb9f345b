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
//     rows of which candidates were lost: once more, in a second kernel                 (again.cuh)
//
// Where there are more than 2048 sub-keys, many_keys/forward.cu does it all.
//
// Little here waits for memory, but every step waits for the one before, so what counts is how many
// instructions a warp runs, and how many warps a multiprocessor has: registers and shared memory
// are held to what two blocks can have. The first half's sorted lists, for which there is no room,
// wait in the output: a row and a weight of a pick take as many bytes as a score and an index.
#include "kernels/attention/hopper/hopper.h"
#include "kernels/product_key/hopper/again.cuh"
#include "kernels/product_key/hopper/best_of_half.cuh"
#include "kernels/product_key/hopper/hopper.h"
#include "kernels/product_key/hopper/launch.h"

namespace memengine::cuda::product_key::hopper {
namespace {

// Panels of the queries and places for panels of sub-keys come after it.
struct alignas(1024) Shared {
  WarpLists lists[warps];
  KeyRing ring;
};

template <int panels, int steps>
__device__ __forceinline__ void look_up(Shared& shared, const Maps& maps, const Output& output,
                                        const Problem& p, int head, int first_token) {
  // From one lane, so that the compiler knows it to be the same in all.
  const int warp = shuffle(static_cast<int>(threadIdx.x) / warp_size, 0);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int part = part_of(lane % team_lanes), row = lane / team_lanes;
  const int token = first_token + warp * 16 + row;  // and the eighth after it
  WarpLists& lists = shared.lists[warp];
  KeyStream<panels, steps, 2> stream{
      shared.ring, reinterpret_cast<unsigned char*>(&shared + 1), maps, p, head, first_token, warp,
      lane};
  stream.start();
  volatile Candidates::Cold cold;
  Candidates candidates(lists, cold, lane);
  // The second half's sorted lists stand where the scores of the same rows were, the first half's,
  // for one of the rows after the other, where the indices were.
  static_assert(sizeof(SortedHalf) <= sizeof(lists.score[0]));
  static_assert(sizeof(SortedHalf) <= sizeof(lists.index));
  const auto place_of = [&](int i) { return output.place(p, head, token + i * 8); };
  const int chunks = p.chunks();
  unsigned lost = 0;
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
    candidates.start(maxima.bars(6), token < p.tokens, token + 8 < p.tokens);
#pragma unroll 1
    for (int chunk = 0; chunk < chunks; ++chunk) {
      stream.multiply(scores);
      hide_missing(scores, chunk * chunk_keys, p.n_keys, lane);
      candidates.take(scores, chunk * chunk_keys);
    }
    if (half == 0) stream.take_second_half();
    lost |= candidates.finish(p.knn);
    __syncwarp();
#pragma unroll 1
    for (int i = 0; i < 2; ++i) {
      const BestOfHalf best = best_of(candidates, i, lane);
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
    BestOfHalf best{};
    if (exists) {
      fetch_back(best, output.indices + place_of(i), output.weights + place_of(i), p.knn, part);
    }
    put_into(first, best, row, part);
    __syncwarp();
    const Lookup lookup{
        first.score[row], second.score[row], first.index[row], second.index[row], p.knn, p.n_keys};
    combine(output.indices + place_of(i), output.weights + place_of(i), lookup, lane % team_lanes,
            exists);
    if (exists && lane % team_lanes == 0 && (lost >> i & 1) != 0) {
      output.indices[place_of(i)] = to_look_up_again;
    }
    __syncwarp();
  }
}

template <int panels, int steps>
__global__ void __launch_bounds__(threads, 2)
    fused_lookup_kernel(const __grid_constant__ CUtensorMap query_map,
                        const __grid_constant__ CUtensorMap key_map, Output output,
                        const __grid_constant__ Problem problem) {
  auto& shared = *reinterpret_cast<Shared*>(shared_of_block());
  if (threadIdx.x == 0) shared.ring.create();
  __syncthreads();
  look_up<panels, steps>(shared, {&query_map, key_map}, output, problem,
                         static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.x) * block_tokens);
}

}  // namespace

bool can_run(const ProductKeyShape& shape) {
  const std::int64_t half_dim = shape.k_dim / 2;
  return shape.knn <= most_kept && half_dim % 8 == 0 && half_dim <= 256 && shape.heads <= 65535 &&
         cuda::hopper::can_run(shape.dtype, 64);
}

void forward(const Context& context, const ProductKeyShape& shape, Tensor indices, Tensor weights,
             Tensor query, Tensor sub_keys) {
  if (shape.n_keys > most_keys) {
    many_keys::forward(context, shape, indices, weights, query, sub_keys);
    return;
  }
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
  const Problem problem{tokens, heads, static_cast<int>(shape.knn), static_cast<int>(shape.n_keys),
                        places};
  const CUtensorMap query_map = map_of_queries(shape, query, block_tokens);
  const CUtensorMap key_map = map_of_sub_keys(shape, sub_keys, chunk_keys);
  const dim3 grid(grid_size(ceil_divide(shape.tokens, block_tokens)), static_cast<unsigned>(heads));
  const Output output{indices.as<std::int32_t>(), weights.as<bfloat16>()};
  const RoomAgain room_again(panels, problem.n_keys);
  Problem again = problem;
  again.places = room_again.places;
  // As many blocks as there is room for at once, but where there are more heads.
  const int parts = std::max(1, std::min(tokens, cuda::hopper::multiprocessors() / heads));
  const auto launch = [&](auto* kernel, dim3 blocks, int shared, const auto&... arguments) {
    allow_shared_bytes(kernel, shared);
    kernel<<<blocks, threads, shared, context.stream>>>(arguments...);
  };
  const auto run = [&]<int panel_count, int steps>() {
    launch(fused_lookup_kernel<panel_count, steps>, grid, bytes, query_map, key_map, output,
           problem);
    launch(look_up_again_kernel<panel_count, steps>, dim3(static_cast<unsigned>(heads * parts)),
           room_again.bytes, key_map, query.as<bfloat16>(), output, again, half_dim, parts,
           room_again.rows);
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
