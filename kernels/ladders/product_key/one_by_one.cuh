// The best of many candidates by a block of threads, one after the other, for the first two rungs.
#pragma once

#include "kernels/device_math.cuh"
#include "kernels/ladders/product_key/half_scores.h"

namespace memengine::ladders::cuda {

inline constexpr int selecting_threads = 256;
inline constexpr int most_picks = 32;
inline constexpr int most_keys = 1024;

// A score and its index as one number: the higher score is larger, of equal ones the lower index.
__device__ __forceinline__ std::uint64_t candidate(float score, unsigned index) {
  const unsigned bits = __float_as_uint(score);
  const unsigned ordered = bits ^ ((bits >> 31) != 0 ? 0xffffffffU : 0x80000000U);
  return std::uint64_t{ordered} << 32 | ~index;
}
__device__ __forceinline__ float score_of(std::uint64_t candidate) {
  const auto ordered = static_cast<unsigned>(candidate >> 32);
  return __uint_as_float(ordered ^ ((ordered >> 31) != 0 ? 0x80000000U : 0xffffffffU));
}
__device__ __forceinline__ unsigned index_of(std::uint64_t candidate) {
  return ~static_cast<unsigned>(candidate);
}

// picked [wanted] = the largest of candidate_at(0 .. count - 1), in shared memory: each round is
// one look at all of them, for the largest below the one before.
template <typename CandidateAt>
__device__ __forceinline__ void pick_one_by_one(std::uint64_t* picked, int wanted, int count,
                                                CandidateAt candidate_at) {
  __shared__ std::uint64_t of_warp[selecting_threads / memengine::cuda::warp_size];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  std::uint64_t last = ~std::uint64_t{0};
  for (int k = 0; k < wanted; ++k) {
    std::uint64_t best = 0;
    for (int i = static_cast<int>(threadIdx.x); i < count; i += selecting_threads) {
      const std::uint64_t here = candidate_at(i);
      if (here < last && here > best) best = here;
    }
    for (int offset = 16; offset > 0; offset /= 2) {
      const std::uint64_t other = __shfl_xor_sync(0xffffffffU, best, offset);
      best = other > best ? other : best;
    }
    if (lane == 0) of_warp[warp] = best;
    __syncthreads();
    for (const std::uint64_t other : of_warp) best = other > best ? other : best;
    if (threadIdx.x == 0) picked[k] = best;
    last = best;
    __syncthreads();
  }
}

// The picks of one lookup, best first, as rows and the softmax of their scores.
__device__ __forceinline__ void write_picks(std::int32_t* indices, bfloat16* weights,
                                            const std::uint64_t* picked, int knn) {
  const int k = static_cast<int>(threadIdx.x);
  if (k >= knn) return;
  const float best = score_of(picked[0]);
  float sum = 0;
  for (int other = 0; other < knn; ++other) sum += expf(score_of(picked[other]) - best);
  indices[k] = static_cast<std::int32_t>(index_of(picked[k]));
  weights[k] = to_bfloat16(expf(score_of(picked[k]) - best) / sum);
}

// A rung's shape, checked, and the scores that it selects from.
struct Selection {
  ProductKeyShape shape;
  float* scores;

  Selection(const Context& context, Tensor indices, Tensor query, Tensor sub_keys)
      : shape(product_key::checked_shape(indices, query, sub_keys, most_picks)) {
    if (shape.n_keys > most_keys) {
      fail_internal("a rung takes at most {} sub-keys, not {}", most_keys, shape.n_keys);
    }
    scores = Scratch(context).take<float>(half_score_count(shape));
    half_scores(context, scores, query, sub_keys, shape);
  }
  std::int64_t lookups() const { return shape.tokens * shape.heads; }
};

}  // namespace memengine::ladders::cuda
