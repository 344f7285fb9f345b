// The sorted best of one half, from its candidates: eight rows at a time, four lanes each.
//
// 64 places for candidates, 16 a lane, are sorted as two lists of 32 by short keys; the better
// half of both is sorted once more. The lanes then have eight of the 32 each, in the order 0, 2, 1,
// 3. Where two of the best cannot be told apart, whole keys are sorted instead.
#pragma once

#include "kernels/product_key/hopper/combine.cuh"
#include "kernels/product_key/hopper/lists.cuh"

namespace memengine::cuda::product_key::hopper {

// What a lane has: eight of its row's 32, from 8 * part_of(member) on.
struct BestOfHalf {
  float score[8];
  Pack<std::uint16_t, 8> index;
};

__device__ __forceinline__ int part_of(int member) {
  return member % 2 * 2 + member / 2;
}

// x = the larger of x and y, or the smaller: one instruction.
__device__ __forceinline__ ShortKey larger_if(bool wanted, ShortKey x, ShortKey y) {
  return wanted ? max(x, y) : min(x, y);
}

// The 32 best of 64, descending, in the lanes' order above. Returns whether two of them are equal
// but for their tags, or the last one and the next.
__device__ __forceinline__ bool sort_best(ShortKey (&best)[8], ShortKey (&keys)[16], int member) {
  sort_in_team_up_to<team_lanes, kept_keys>(keys, member);  // one list down, the other one up
  const bool lower = member < 2;
  ShortKey left_out = 0;
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const ShortKey other = shuffle_xor(lower ? keys[r + 8] : keys[r], 2);
    const ShortKey mine = lower ? keys[r] : keys[r + 8];
    best[r] = max(mine, other);
    left_out = max(left_out, min(mine, other));
  }
  const bool first = member % 2 == 0;
#pragma unroll
  for (int r = 0; r < 8; ++r) best[r] = larger_if(first, best[r], shuffle_xor(best[r], 1));
#pragma unroll
  for (int r = 0; r < 8; ++r) best[r] = larger_if(lower, best[r], shuffle_xor(best[r], 2));
#pragma unroll
  for (int stride = 4; stride > 0; stride /= 2) {
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      if ((r & stride) != 0) continue;
      const ShortKey a = best[r], b = best[(r + stride) % 8];
      best[r] = max(a, b);
      best[(r + stride) % 8] = min(a, b);
    }
  }
  left_out = max(left_out, shuffle_xor(left_out, 1));
  left_out = max(left_out, shuffle_xor(left_out, 2));
  // Lanes 0, 2, 1 go on in lanes 2, 1, 3.
  ShortKey next =
      __shfl_sync(all_lanes, best[0], member == 0 ? 2 : (member == 2 ? 1 : 3), team_lanes);
  if (member == 3) next = left_out;
  ShortKey least = ~0U;  // where neighbours differ
#pragma unroll
  for (int r = 0; r < 8; ++r) least = min(least, best[r] ^ (r < 7 ? best[(r + 1) % 8] : next));
  return score_bits(least) == 0;
}

__device__ __forceinline__ BestOfHalf best_of(const Candidates& candidates, int i, int lane) {
  const int member = lane % team_lanes;
  BestOfHalf best;
  ShortKey keys[16], sorted[8];
  candidates.collect(keys, i);
  const bool tie = sort_best(sorted, keys, member);
  if (!__any_sync(all_lanes, tie)) [[likely]] {
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const ShortKey tag = tag_of(sorted[r]);
      best.score[r] = candidates.score_at(i, tag);
      best.index.element[r] = candidates.index_at(i, tag);
    }
    return best;
  }
  Key whole[16];
  candidates.collect(whole, i);
  sort_in_team<team_lanes>(whole, member);
  const int part = part_of(member), source = (lane & ~3) + part / 2;
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const Key even = shuffle(whole[r], source), odd = shuffle(whole[r + 8], source);
    const Key key = part % 2 == 0 ? even : odd;
    best.score[r] = score_of(key);
    best.index.element[r] = static_cast<std::uint16_t>(index_of(key));
  }
  return best;
}

// The first half's lists wait where the picks of the same lookup will stand.
__device__ __forceinline__ void put_aside(std::int32_t* indices, bfloat16* weights,
                                          const BestOfHalf& best, int knn, int part) {
  auto* scores = reinterpret_cast<float*>(indices);
  auto* keys = reinterpret_cast<std::uint16_t*>(weights);
  if (knn == kept_keys) {
    store(scores + part * 8, best.score);
    *reinterpret_cast<Pack<std::uint16_t, 8>*>(keys + part * 8) = best.index;
    return;
  }
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    if (part * 8 + r >= knn) continue;
    scores[part * 8 + r] = best.score[r];
    keys[part * 8 + r] = best.index.element[r];
  }
}
__device__ __forceinline__ void fetch_back(BestOfHalf& best, const std::int32_t* indices,
                                           const bfloat16* weights, int knn, int part) {
  const auto* scores = reinterpret_cast<const float*>(indices);
  const auto* keys = reinterpret_cast<const std::uint16_t*>(weights);
  if (knn == kept_keys) {
    load(scores + part * 8, best.score);
    best.index = *reinterpret_cast<const Pack<std::uint16_t, 8>*>(keys + part * 8);
    return;
  }
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const bool there = part * 8 + r < knn;
    best.score[r] = there ? scores[part * 8 + r] : 0.0F;
    best.index.element[r] = there ? keys[part * 8 + r] : std::uint16_t{0};
  }
}

__device__ __forceinline__ void put_into(SortedHalf& sorted, const BestOfHalf& best, int row,
                                         int part) {
  store(&sorted.score[row][part * 8], best.score);
  *reinterpret_cast<Pack<std::uint16_t, 8>*>(&sorted.index[row][part * 8]) = best.index;
}

}  // namespace memengine::cuda::product_key::hopper
