// Products of a block's queries with all sub-keys of a head, chunk after chunk: the first half's
// chunks so many times as the caller passes over them, then the second half's as often.
//
// Sub-keys come in panels, 128 of them by 64 elements, into a ring of places in shared memory that
// one thread lets the copy engine fill ahead. Every product takes the next panels of the ring.
#pragma once

#include "kernels/attention/hopper/copy_engine.cuh"

namespace memengine::cuda::product_key::hopper {

using cuda::hopper::Barrier;

constexpr int chunk_keys = 128;
constexpr int groups = 2;  // of 64 tokens, a warpgroup each
constexpr int warps = groups * 4;
constexpr int threads = warps * warp_size;
constexpr int block_tokens = groups * 64;
constexpr int panel_elements = 64;
constexpr int panel_bytes = 128 * cuda::hopper::row_bytes;  // of 128 tokens, or 128 sub-keys
constexpr int most_places = 8;
static_assert(block_tokens == 128 && chunk_keys == 128);

struct Problem {
  int tokens, heads, knn, n_keys, places;

  __device__ int chunks() const { return (n_keys + chunk_keys - 1) / chunk_keys; }
};

struct Maps {
  const CUtensorMap* query;  // null: the caller puts the queries into their panels
  const CUtensorMap& keys;
};

// In shared memory. Panels of the queries and places for panels of sub-keys lie at `panels`.
struct KeyRing {
  Barrier queries_there, queries_used, there[most_places], used[most_places];
  // The next panel to fetch: how many came before, its pass, chunk, number, place.
  int fetched, pass, chunk, panel, place, parity;

  // By one thread.
  __device__ void create() {
    queries_there.create(1);
    queries_used.create(warps);
    for (int i = 0; i < most_places; ++i) {
      there[i].create(1);
      used[i].create(warps);
    }
    fetched = pass = chunk = panel = place = 0;
    parity = 1;  // the first panels find their places free
    cuda::hopper::fence_barriers();
  }
  // By one thread, when all are done with it, before it is created again.
  __device__ void destroy() {
    queries_there.destroy();
    queries_used.destroy();
    for (int i = 0; i < most_places; ++i) {
      there[i].destroy();
      used[i].destroy();
    }
  }
};

// A sub-key has `panel_count` panels; one takes `steps` products of 16 elements. `passes`: how
// often the caller passes over a half.
template <int panel_count, int steps, int passes>
struct KeyStream {
  KeyRing& ring;
  unsigned char* panels;
  const Maps& maps;
  const Problem& p;
  int head, first_token, warp, lane;
  int place = 0, parity = 0, taken = 0;

  __device__ __forceinline__ void start() {
    if (threadIdx.x == 0) {
      if (maps.query != nullptr) fetch_queries(0);
#pragma unroll 1
      for (int i = 0; i < p.places && ring.pass < 2 * passes; ++i) fetch_panel();
    }
    __syncwarp();
  }
  __device__ __forceinline__ void wait_for_queries(int half) {
    ring.queries_there.wait(half);
  }

  // After the last product of the first half.
  __device__ __forceinline__ void take_second_half() {
    if (lane == 0) ring.queries_used.arrive();
    if (threadIdx.x == 0) {
      ring.queries_used.wait(0);
      fetch_queries(1);
    }
    __syncwarp();
  }

  // scores [64, 128] = the group's queries times the next chunk of sub-keys.
  __device__ __forceinline__ void multiply(float (&scores)[64]) {
    const int first_place = place;
    int from = place, phase = parity;
#pragma unroll
    for (int i = 0; i < panel_count; ++i) {
      ring.there[place].wait(parity);
      step_on(place, parity);
    }
    const std::uint64_t a =
        cuda::hopper::operand(cuda::hopper::shared_address(panels + warp / 4 * (panel_bytes / 2)));
    cuda::hopper::wgmma_begin();
#pragma unroll
    for (int i = 0; i < panel_count; ++i) {
      const std::uint64_t b =
          cuda::hopper::operand(cuda::hopper::shared_address(panel_at(panel_count + from)));
#pragma unroll
      for (int k = 0; k < steps; ++k) {
        constexpr int step = cuda::hopper::step_bytes_rows_by_k / 16;
        cuda::hopper::wgmma_64x128(scores, a + i * (panel_bytes / 16) + k * step, b + k * step,
                                   i > 0 || k > 0);
      }
      step_on(from, phase);
    }
    cuda::hopper::wgmma_commit();
    cuda::hopper::wgmma_wait<0>(scores);
    if (lane == 0) {
      int used = first_place;
#pragma unroll
      for (int i = 0; i < panel_count; ++i) {
        ring.used[used].arrive();
        step_on(used, phase);
      }
    }
    if (warp == 0) refill();
  }

 private:
  // To the next place of the ring, and the parity of its barriers' phase.
  __device__ __forceinline__ void step_on(int& at, int& phase) const {
    if (++at < p.places) return;
    at = 0;
    phase ^= 1;
  }
  __device__ __forceinline__ unsigned char* panel_at(int i) const {
    return panels + i * panel_bytes;
  }

  // Fills the places of the product before the last, which all warps have used by now, most likely;
  // where there are too few places, of the last.
  __device__ __forceinline__ void refill() {
    taken += panel_count;
    if (lane == 0) {
      const int kept = p.places >= 2 * panel_count ? panel_count : 0;
#pragma unroll 1
      while (ring.pass < 2 * passes && ring.fetched < taken - kept + p.places) fetch_panel();
    }
    __syncwarp();
  }

  __device__ __forceinline__ void fetch_queries(int half) {
    ring.queries_there.arrive_and_expect(panel_count * panel_bytes);
#pragma unroll 1
    for (int i = 0; i < panel_count; ++i) {
      load_box(panel_at(i), *maps.query, i * panel_elements, first_token, head * 2 + half,
               ring.queries_there);
    }
  }
  __device__ __forceinline__ void fetch_panel() {
    Barrier& there = ring.there[ring.place];
    ring.used[ring.place].wait(ring.parity);
    there.arrive_and_expect(panel_bytes);
    load_box(panel_at(panel_count + ring.place), maps.keys, ring.panel * panel_elements,
             ring.chunk * chunk_keys, head * 2 + ring.pass / passes, there);
    ++ring.fetched;
    step_on(ring.place, ring.parity);
    if (++ring.panel < panel_count) return;
    ring.panel = 0;
    if (++ring.chunk < p.chunks()) return;
    ring.chunk = 0;
    ++ring.pass;
  }
};

}  // namespace memengine::cuda::product_key::hopper
