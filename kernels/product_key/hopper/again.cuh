// Lookups of which the fused kernel has lost candidates, once more: from all their scores.
//
// The scores are computed as they were, by the same products in the same order, so that it makes no
// difference to a number which way a lookup went. A block has the 128 tokens and the head that a
// block of the fused kernel had, and returns at once where all went well. Else it keeps the scores
// of some of those lookups in shared memory, and a warp selects the best of each row.
#pragma once

#include <algorithm>

#include "kernels/product_key/best.cuh"
#include "kernels/product_key/hopper/combine.cuh"
#include "kernels/product_key/hopper/hopper.h"
#include "kernels/product_key/hopper/key_stream.cuh"

namespace memengine::cuda::product_key::hopper {

// Where the first row of such a lookup should be.
constexpr std::int32_t to_look_up_again = -1;

struct Output {
  std::int32_t* indices;
  bfloat16* weights;

  // Of a lookup's first pick.
  __device__ __forceinline__ std::int64_t place(const Problem& p, int head, int token) const {
    return (std::int64_t{token} * p.heads + head) * p.knn;
  }
};

// Dynamic shared memory alone starts at a multiple of 1024.
__device__ __forceinline__ unsigned char* shared_of_block() {
  extern __shared__ __align__(1024) unsigned char shared_memory[];
  return shared_memory;
}

// Columns past the last key are worse than all others.
__device__ __forceinline__ void hide_missing(float (&scores)[64], int first_key, int n_keys,
                                             int lane) {
  if (first_key + chunk_keys <= n_keys) return;
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    if (first_key + lane % 4 * 2 + i / 4 * 8 + i % 2 >= n_keys) scores[i] = -INFINITY;
  }
}

constexpr int shared_bytes_of_two = 113 * 1024;  // what a block may have where there are two
constexpr int rows_again = 2 * rows_at_once;     // lookups at a time, at most
constexpr int most_keys = 20480;                 // so many that the scores of one row have room

// Panels of the queries, places for panels of sub-keys and rows of scores come after it.
struct alignas(1024) SharedAgain {
  KeyRing ring;
  SortedHalf sorted[2][rows_again / rows_at_once];
  Key buffer[warps][Best<1>::buffer_keys];
  unsigned wanted[block_tokens / warp_size];  // a bit for each token
};

// From one row of scores to the next.
__host__ __device__ constexpr int score_bytes_again(int n_keys) {
  return (n_keys + chunk_keys - 1) / chunk_keys * chunk_keys * static_cast<int>(sizeof(float));
}
__host__ __device__ constexpr int bytes_before_scores(int panels, int places) {
  return static_cast<int>(sizeof(SharedAgain)) + (panels + places) * panel_bytes;
}
constexpr int rows_with_room(int panels, int places, int n_keys, int bytes) {
  const int left = bytes - bytes_before_scores(panels, places);
  return left < 0 ? 0 : left / score_bytes_again(n_keys);
}
static_assert(rows_with_room(4, 4, most_keys, shared_bytes) > 0);

// What a block has room for: places for panels of sub-keys, which wait least where there are many,
// and rows of scores. Most blocks only look whether there is work; where two fit in a
// multiprocessor, they are done sooner.
struct RoomAgain {
  int places, rows, bytes;

  RoomAgain(int panels, int n_keys) {
    const int most_bytes = panels == 1 && rows_with_room(1, 3, n_keys, shared_bytes_of_two) > 3
                               ? shared_bytes_of_two
                               : static_cast<int>(shared_bytes);
    places = panels == 1 && most_bytes == shared_bytes_of_two ? 3 : most_places;
    while (places > panels && rows_with_room(panels, places, n_keys, most_bytes) < 4) --places;
    rows = std::min(rows_again, rows_with_room(panels, places, n_keys, most_bytes));
    bytes = bytes_before_scores(panels, places) + rows * score_bytes_again(n_keys);
  }
};

// The place in the list of wanted tokens, of those from the token number `first` of it on, that a
// token has; -1 where it is not wanted.
__device__ __forceinline__ int slot_of(const unsigned* wanted, int token, int first) {
  if ((wanted[token / warp_size] >> token % warp_size & 1) == 0) return -1;
  int before = __popc(wanted[token / warp_size] & ((1U << token % warp_size) - 1));
  for (int i = 0; i < token / warp_size; ++i) before += __popc(wanted[i]);
  return before - first;
}
// The token that has a slot.
__device__ __forceinline__ int token_of(const unsigned* wanted, int slot, int first) {
  int left = slot + first, word = 0;
  while (left >= __popc(wanted[word])) left -= __popc(wanted[word++]);
  return word * warp_size + static_cast<int>(__fns(wanted[word], 0, left + 1));
}

// sorted[slot] = the 32 best of one row of scores, by a warp.
__device__ __forceinline__ void select(SharedAgain& shared, const float* scores, int n_keys,
                                       int half, int slot, int warp, int lane) {
  const Key none[1] = {};
  Best<1> best(shared.buffer[warp], lane);
  best.start(none, 0);
#pragma unroll 1
  for (int first = 0; first < n_keys; first += warp_size) {
    const int key = first + lane;
    const bool given = key < n_keys;
    best.offer(given, given ? make_key(scores[key], static_cast<std::uint32_t>(key)) : 0);
  }
  best.finish();
  SortedHalf& sorted = shared.sorted[half][slot / rows_at_once];
  sorted.score[slot % rows_at_once][lane] = score_of(best.keys[0]);
  sorted.index[slot % rows_at_once][lane] = static_cast<std::uint16_t>(index_of(best.keys[0]));
}

// The lookups number first .. first + rows - 1 of those wanted.
template <int panels, int steps>
__device__ __forceinline__ void look_up_again(SharedAgain& shared, const Maps& maps,
                                              const Output& output, const Problem& p, int head,
                                              int first_token, int first, int rows) {
  const int warp = shuffle(static_cast<int>(threadIdx.x) / warp_size, 0);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  auto* panel_memory = reinterpret_cast<unsigned char*>(&shared + 1);
  auto* score_memory =
      reinterpret_cast<unsigned char*>(&shared) + bytes_before_scores(panels, p.places);
  const auto scores_of = [&](int slot) {
    return reinterpret_cast<float*>(score_memory + slot * score_bytes_again(p.n_keys));
  };
  KeyStream<panels, steps, 1> stream{shared.ring, panel_memory, maps, p,
                                     head,        first_token,  warp, lane};
  stream.start();
  int slots[2];  // of this lane's two rows
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    slots[i] = slot_of(shared.wanted, warp * 16 + lane / team_lanes + i * 8, first);
    if (slots[i] >= rows) slots[i] = -1;
  }
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    float scores[64];
    stream.wait_for_queries(half);
#pragma unroll 1
    for (int chunk = 0; chunk < p.chunks(); ++chunk) {
      stream.multiply(scores);
      hide_missing(scores, chunk * chunk_keys, p.n_keys, lane);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (slots[i] < 0) continue;
        float* row = scores_of(slots[i]) + chunk * chunk_keys + lane % team_lanes * 2;
#pragma unroll
        for (int block = 0; block < 16; ++block) {
          *reinterpret_cast<float2*>(row + block * 8) =
              make_float2(scores[block * 4 + i * 2], scores[block * 4 + i * 2 + 1]);
        }
      }
      __syncwarp();
    }
    if (half == 0) stream.take_second_half();
    __syncthreads();
#pragma unroll 1
    for (int slot = warp; slot < rows; slot += warps) {
      select(shared, scores_of(slot), p.n_keys, half, slot, warp, lane);
    }
    __syncthreads();
  }
  const int slot = warp * rows_at_once + lane / team_lanes, row = slot % rows_at_once;
  if (warp >= rows_again / rows_at_once) return;
  const bool exists = slot < rows;
  const std::int64_t place =
      output.place(p, head, first_token + (exists ? token_of(shared.wanted, slot, first) : 0));
  const SortedHalf& one = shared.sorted[0][warp];
  const SortedHalf& other = shared.sorted[1][warp];
  const Lookup lookup{one.score[row], other.score[row], one.index[row], other.index[row],
                      p.knn,          p.n_keys};
  combine(output.indices + place, output.weights + place, lookup, lane % team_lanes, exists);
}

template <int panels, int steps>
__global__ void __launch_bounds__(threads, 1)
    look_up_again_kernel(const __grid_constant__ CUtensorMap query_map,
                         const __grid_constant__ CUtensorMap key_map, Output output,
                         const __grid_constant__ Problem problem, int at_once) {
  auto& shared = *reinterpret_cast<SharedAgain*>(shared_of_block());
  const int head = static_cast<int>(blockIdx.y);
  const int first_token = static_cast<int>(blockIdx.x) * block_tokens;
  const int thread = static_cast<int>(threadIdx.x);
  const bool wanted =
      thread < block_tokens && first_token + thread < problem.tokens &&
      output.indices[output.place(problem, head, first_token + thread)] == to_look_up_again;
  const int count = __syncthreads_count(wanted ? 1 : 0);
  if (count == 0) return;
  const unsigned of_warp = __ballot_sync(all_lanes, wanted);
  if (thread < block_tokens && thread % warp_size == 0) shared.wanted[thread / warp_size] = of_warp;
#pragma unroll 1
  for (int first = 0; first < count; first += at_once) {
    if (thread == 0) {
      if (first > 0) shared.ring.destroy();
      shared.ring.create();
    }
    __syncthreads();
    look_up_again<panels, steps>(shared, {query_map, key_map}, output, problem, head, first_token,
                                 first, min(count - first, at_once));
    __syncthreads();
  }
}

}  // namespace memengine::cuda::product_key::hopper
