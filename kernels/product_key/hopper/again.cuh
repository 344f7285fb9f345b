// Lookups of which the fused kernel has lost candidates, once more: from all their scores.
//
// The scores are computed as they were, by the same products in the same order, so that it makes no
// difference to a number which way a lookup went. The tokens of a head are dealt out to as many
// blocks as the GPU has room for at once; a block collects those of its lookups that are to be done
// again, keeps the scores of up to 16 of them in shared memory, and a warp selects the best of each
// row.
#pragma once

#include <algorithm>

#include "kernels/attention/hopper/hopper.h"
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

constexpr int most_keys = 2048;
constexpr int rows_again = 2 * rows_at_once;  // lookups at a time, at most
constexpr int tokens_per_look = 4 * threads;  // among which a block looks for some at a time
static_assert(rows_again == 2 * warps);

// Panels of the queries, places for panels of sub-keys and rows of scores come after it.
struct alignas(1024) SharedAgain {
  KeyRing ring;
  SortedHalf sorted[2][rows_again / rows_at_once];
  Key buffer[warps][Best<1>::buffer_keys];
  int tokens[tokens_per_look], count;
};

// From one row of scores to the next.
__host__ __device__ constexpr int score_bytes_again(int n_keys) {
  return (n_keys + chunk_keys - 1) / chunk_keys * chunk_keys * static_cast<int>(sizeof(float));
}
__host__ __device__ constexpr int bytes_before_scores(int panels, int places) {
  return static_cast<int>(sizeof(SharedAgain)) + (panels + places) * panel_bytes;
}
constexpr int rows_with_room(int panels, int places, int n_keys) {
  const int left = static_cast<int>(shared_bytes) - bytes_before_scores(panels, places);
  return std::min(rows_again, left < 0 ? 0 : left / score_bytes_again(n_keys));
}
static_assert(rows_with_room(4, 4, most_keys) >= 8);

// Places for panels of sub-keys, which wait least where there are many, and rows of scores.
struct RoomAgain {
  int places = most_places, rows, bytes;

  RoomAgain(int panels, int n_keys) {
    while (places > panels && rows_with_room(panels, places, n_keys) < 8) --places;
    rows = rows_with_room(panels, places, n_keys);
    bytes = bytes_before_scores(panels, places) + rows * score_bytes_again(n_keys);
  }
};

// The query halves of these lookups into the panels, as the copy engine would lay them there. The
// lookup number s is row s / 8 of warp s % 8.
template <int panels>
__device__ __forceinline__ void put_queries(unsigned char* panel_memory, const bfloat16* query,
                                            const Problem& p, const int* tokens, int rows, int head,
                                            int half, int half_dim) {
  constexpr int pieces = panels * panel_elements / 8;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i < rows * pieces; i += threads) {
    const int slot = i / pieces, piece = i % pieces, row = slot % warps * 16 + slot / warps;
    const std::int64_t lookup = std::int64_t{tokens[slot]} * p.heads + head;
    uint4 elements = make_uint4(0, 0, 0, 0);
    if (piece * 8 < half_dim) {
      elements =
          *reinterpret_cast<const uint4*>(query + (lookup * 2 + half) * half_dim + piece * 8);
    }
    unsigned char* to = panel_memory + piece / 8 * panel_bytes + row * cuda::hopper::row_bytes;
    *reinterpret_cast<uint4*>(to + (piece % 8 ^ row % 8) * 16) = elements;
  }
  cuda::hopper::publish_shared();
  __syncthreads();
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

// The lookups of `rows` tokens.
template <int panels, int steps>
__device__ __forceinline__ void look_up_again(SharedAgain& shared, const CUtensorMap& key_map,
                                              const bfloat16* query, const Output& output,
                                              const Problem& p, int head, const int* tokens,
                                              int rows, int half_dim) {
  const int warp = shuffle(static_cast<int>(threadIdx.x) / warp_size, 0);
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  auto* panel_memory = reinterpret_cast<unsigned char*>(&shared + 1);
  auto* score_memory =
      reinterpret_cast<unsigned char*>(&shared) + bytes_before_scores(panels, p.places);
  const auto scores_of = [&](int slot) {
    return reinterpret_cast<float*>(score_memory + slot * score_bytes_again(p.n_keys));
  };
  KeyStream<panels, steps, 1> stream{shared.ring, panel_memory, {nullptr, key_map}, p, head, 0,
                                     warp,        lane};
  stream.start();
  const int slot_of_lane = warp + lane / team_lanes * warps;
#pragma unroll 1
  for (int half = 0; half < 2; ++half) {
    put_queries<panels>(panel_memory, query, p, tokens, rows, head, half, half_dim);
    float scores[64];
#pragma unroll 1
    for (int chunk = 0; chunk < p.chunks(); ++chunk) {
      stream.multiply(scores);
      if (slot_of_lane < rows) {
        float* row = scores_of(slot_of_lane) + chunk * chunk_keys + lane % team_lanes * 2;
#pragma unroll
        for (int block = 0; block < 16; ++block) {
          *reinterpret_cast<float2*>(row + block * 8) =
              make_float2(scores[block * 4], scores[block * 4 + 1]);
        }
      }
      __syncwarp();
    }
    __syncthreads();
#pragma unroll 1
    for (int slot = warp; slot < rows; slot += warps) {
      select(shared, scores_of(slot), p.n_keys, half, slot, warp, lane);
    }
    __syncthreads();
  }
  if (warp >= rows_again / rows_at_once) return;
  const int slot = warp * rows_at_once + lane / team_lanes, row = slot % rows_at_once;
  const bool exists = slot < rows;
  const std::int64_t place = output.place(p, head, exists ? tokens[slot] : 0);
  const SortedHalf& one = shared.sorted[0][warp];
  const SortedHalf& other = shared.sorted[1][warp];
  const Lookup lookup{one.score[row], other.score[row], one.index[row], other.index[row],
                      p.knn,          p.n_keys};
  combine(output.indices + place, output.weights + place, lookup, lane % team_lanes, exists);
}

// Grid: heads * parts blocks; a block has every parts-th token of one head.
template <int panels, int steps>
__global__ void __launch_bounds__(threads, 1)
    look_up_again_kernel(const __grid_constant__ CUtensorMap key_map, const bfloat16* query,
                         Output output, const __grid_constant__ Problem problem, int half_dim,
                         int parts, int at_once) {
  auto& shared = *reinterpret_cast<SharedAgain*>(shared_of_block());
  const int head = static_cast<int>(blockIdx.x) / parts;
  const int part = static_cast<int>(blockIdx.x) % parts;
  const int thread = static_cast<int>(threadIdx.x);
  bool ring_exists = false;
#pragma unroll 1
  for (std::int64_t first = part; first < problem.tokens;
       first += std::int64_t{parts} * tokens_per_look) {
    if (thread == 0) shared.count = 0;
    std::int32_t picks[tokens_per_look / threads];
    const auto token_of = [&](int i) {
      return first + std::int64_t{parts} * (thread + i * threads);
    };
#pragma unroll
    for (int i = 0; i < tokens_per_look / threads; ++i) {
      const std::int64_t token = token_of(i);
      picks[i] = token < problem.tokens
                     ? output.indices[output.place(problem, head, static_cast<int>(token))]
                     : 0;
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < tokens_per_look / threads; ++i) {
      if (picks[i] != to_look_up_again) continue;
      shared.tokens[atomicAdd(&shared.count, 1)] = static_cast<int>(token_of(i));
    }
    __syncthreads();
    const int count = shared.count;
#pragma unroll 1
    for (int done = 0; done < count; done += at_once) {
      if (thread == 0) {
        if (ring_exists) shared.ring.destroy();
        shared.ring.create();
      }
      ring_exists = true;
      __syncthreads();
      look_up_again<panels, steps>(shared, key_map, query, output, problem, head,
                                   shared.tokens + done, min(count - done, at_once), half_dim);
      __syncthreads();
    }
    __syncthreads();
  }
}

}  // namespace memengine::cuda::product_key::hopper
