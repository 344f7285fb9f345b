// Third rung: a warp for each lookup, in registers. A lane keeps every 32nd score and knows its
// best; the warp's best is one instruction, and only the lane that had it looks for its next one.
//
// Pairs are walked down the staircase: lane a holds the a-th best of the first half and stands at
// one of the second; its pair is the best of its own that is left. Whoever has the warp's best goes
// one step further. So knn pairs are taken, knn + 31 looked at, of knn^2.
#include "kernels/ladders/product_key/one_by_one.cuh"
#include "kernels/ladders/product_key/rungs.h"

namespace memengine::ladders::cuda {
namespace {

using namespace memengine::cuda;

constexpr unsigned whole_warp = 0xffffffffU;
constexpr int scores_per_lane = most_keys / warp_size;
constexpr int walking_threads = 128;

// Ordered like the floats; 0 is below all of them.
__device__ __forceinline__ unsigned ordered_bits(float score) {
  return static_cast<unsigned>(candidate(score, 0) >> 32);
}

// The largest value of the warp, of equal ones that with the lowest tag: true in the lane that has
// it.
__device__ __forceinline__ bool is_best(unsigned value, unsigned tag) {
  const bool largest = __reduce_max_sync(whole_warp, value) == value;
  return __reduce_min_sync(whole_warp, largest ? tag : ~0U) == tag && largest;
}

struct Ranked {
  float score;
  int index;
};

// Lane k gets the k-th best of scores [count].
__device__ __forceinline__ Ranked best_of_half(const float* scores, int count, int knn, int lane) {
  unsigned mine[scores_per_lane];
#pragma unroll
  for (int r = 0; r < scores_per_lane; ++r) {
    const int i = r * warp_size + lane;
    mine[r] = i < count ? ordered_bits(scores[i]) : 0;
  }
  unsigned taken = 0;  // a bit for each of them
  Ranked ranked{};
  unsigned best = 0;
  int place = 0;
  const auto find_best = [&] {
    best = 0;
#pragma unroll
    for (int r = 0; r < scores_per_lane; ++r) {
      if ((taken >> r & 1U) == 0 && mine[r] > best) {
        best = mine[r];
        place = r;
      }
    }
  };
  find_best();
  for (int k = 0; k < knn; ++k) {
    const int index = place * warp_size + lane;
    const bool chosen = is_best(best, static_cast<unsigned>(index));
    const int source = __ffs(static_cast<int>(__ballot_sync(whole_warp, chosen))) - 1;
    const unsigned value = __shfl_sync(whole_warp, best, source);
    const int winner = __shfl_sync(whole_warp, index, source);
    if (lane == k) ranked = {score_of(std::uint64_t{value} << 32), winner};
    if (chosen) {
      taken |= 1U << place;
      find_best();
    }
  }
  return ranked;
}

__global__ void __launch_bounds__(walking_threads)
    staircase_kernel(std::int32_t* indices, bfloat16* weights, const float* scores,
                     std::int64_t lookups, int knn, int n_keys) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t lookup =
      std::int64_t{blockIdx.x} * (walking_threads / warp_size) + threadIdx.x / warp_size;
  if (lookup >= lookups) return;
  const float* of_lookup = scores + lookup * 2 * n_keys;
  const Ranked first = best_of_half(of_lookup, n_keys, knn, lane);
  const Ranked second = best_of_half(of_lookup + n_keys, n_keys, knn, lane);
  int step = 0;  // of this lane, down the second half
  Ranked picked{};
  for (int k = 0; k < knn; ++k) {
    const float other_score = __shfl_sync(whole_warp, second.score, step);
    const int other_index = __shfl_sync(whole_warp, second.index, step);
    const float sum = first.score + other_score;
    const int row = first.index * n_keys + other_index;
    const unsigned here = lane < knn && step < knn ? ordered_bits(sum) : 0;
    const bool chosen = is_best(here, static_cast<unsigned>(row));
    const int source = __ffs(static_cast<int>(__ballot_sync(whole_warp, chosen))) - 1;
    const float score = __shfl_sync(whole_warp, sum, source);
    const int winner = __shfl_sync(whole_warp, row, source);
    if (lane == k) picked = {score, winner};
    if (chosen) ++step;
  }
  const float best = __shfl_sync(whole_warp, picked.score, 0);
  float weight = lane < knn ? expf(picked.score - best) : 0;
  float sum = weight;
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(whole_warp, sum, offset);
  if (lane >= knn) return;
  indices[lookup * knn + lane] = picked.index;
  weights[lookup * knn + lane] = to_bfloat16(weight / sum);
}

}  // namespace

void staircase(const Context& context, Tensor indices, Tensor weights, Tensor query,
               Tensor sub_keys) {
  const Selection from(context, indices, query, sub_keys);
  const std::int64_t blocks = ceil_divide(from.lookups(), walking_threads / warp_size);
  staircase_kernel<<<grid_size(blocks), walking_threads, 0, context.stream>>>(
      indices.as<std::int32_t>(), weights.as<bfloat16>(), from.scores, from.lookups(),
      static_cast<int>(from.shape.knn), static_cast<int>(from.shape.n_keys));
  MEMENGINE_LAUNCH_CHECK("ladders: staircase");
}

}  // namespace memengine::ladders::cuda
