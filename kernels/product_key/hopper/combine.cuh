// From the sorted best of both halves to a lookup's rows and weights, by four lanes a lookup.
//
// Of the knn x knn pairs (a, b) only those with (a + 1)(b + 1) <= knn can win (product_key.h), 119
// of them for knn 32. They lie in hooks around (d, d): the row (d, b >= d) and the column
// (a > d, d), each in descending order already. Two sorted lists (row and column of hook 0), one
// bitonic (hook 1) and one of the 27 pairs left are merged, the better 32 kept each time.
//
// Pairs are ordered by the rounded sum first. Only where two rounded sums among the best are equal
// the lookup is done once more with exact sums.
#pragma once

#include "kernels/product_key/team_sort.cuh"

namespace memengine::cuda::product_key::hopper {

constexpr int team_lanes = 4;
constexpr int kept_keys = 32;
constexpr int rows_at_once = warp_size / team_lanes;

// The best of one half for eight rows of scores; the distance keeps the rows in different banks.
struct SortedHalf {
  float score[rows_at_once][kept_keys + 1];
  std::uint16_t index[rows_at_once][kept_keys + 2];
};

struct PairList {
  std::uint16_t pair[kept_keys];  // a * 256 + b
};

constexpr PairList make_second_hook() {
  PairList list{};
  for (int i = 0; i < 16; ++i) list.pair[i] = static_cast<std::uint16_t>(256 + i + 1);
  for (int i = 16; i < 32; ++i) list.pair[i] = static_cast<std::uint16_t>((33 - i) * 256 + 1);
  return list;
}
constexpr PairList make_inner_hooks() {
  PairList list{};
  int count = 0;
  for (int a = 2; a < 32; ++a) {
    for (int b = 2; b < 32; ++b) {
      if ((a + 1) * (b + 1) > 32) continue;
      list.pair[count++] = static_cast<std::uint16_t>(a * 256 + b);
    }
  }
  while (count < kept_keys) list.pair[count++] = 31 * 256 + 31;  // never a candidate
  return list;
}
__device__ const PairList second_hook = make_second_hook();
__device__ const PairList inner_hooks = make_inner_hooks();

struct Lookup {
  const float* first_score;
  const float* second_score;
  const std::uint16_t* first_index;
  const std::uint16_t* second_index;
  int knn, n_keys;

  template <typename AnyKey>
  __device__ __forceinline__ AnyKey pair(int a, int b) const {
    if ((a + 1) * (b + 1) > knn) return AnyKey{};
    return make_pair<AnyKey>(first_score[a], second_score[b],
                             static_cast<std::uint32_t>(first_index[a]) * n_keys + second_index[b]);
  }
};

// best = the 32 best pairs, of which knn are valid. Returns whether two rounded sums that matter
// are equal.
template <typename AnyKey>
__device__ __forceinline__ bool best_pairs(AnyKey (&best)[8], const Lookup& lookup, int member) {
  std::uint32_t left_out = 0;
  AnyKey next[8];
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    best[r] = lookup.pair<AnyKey>(0, member * 8 + r);
    next[r] = lookup.pair<AnyKey>(member * 8 + r + 1, 0);
  }
  keep_better<team_lanes>(best, next, left_out, member);
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const std::uint32_t pair = second_hook.pair[member * 8 + r];
    next[r] = lookup.pair<AnyKey>(static_cast<int>(pair / 256), static_cast<int>(pair % 256));
  }
  merge_in_team<team_lanes>(next, member);
  keep_better<team_lanes>(best, next, left_out, member);
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const std::uint32_t pair = inner_hooks.pair[member * 8 + r];
    next[r] = lookup.pair<AnyKey>(static_cast<int>(pair / 256), static_cast<int>(pair % 256));
  }
  sort_in_team<team_lanes>(next, member);
  keep_better<team_lanes>(best, next, left_out, member);

  // Neighbours with the same rounded sum, the last one's being the best of those left out.
  left_out = max(left_out, shuffle_xor(left_out, 1));
  left_out = max(left_out, shuffle_xor(left_out, 2));
  const std::uint32_t next_member = __shfl_down_sync(all_lanes, score_bits(best[0]), 1);
  bool tie = false;
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    std::uint32_t after = member == 3 ? left_out : next_member;
    if (r < 7) after = score_bits(best[(r + 1) % 8]);
    tie = tie || (after != 0 && after == score_bits(best[r]) && member * 8 + r < lookup.knn);
  }
  return tie;
}

// indices, weights [knn] of one lookup; `write` is false where it does not exist.
__device__ __forceinline__ void write_lookup(std::int32_t* indices, bfloat16* weights,
                                             const std::uint32_t (&rows)[8],
                                             const float (&scores)[8], int knn, int member,
                                             bool write) {
  const float top = __shfl_sync(all_lanes, scores[0], 0, team_lanes);
  float weight[8];
  float sum = 0;
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    weight[r] = member * 8 + r < knn ? expf(scores[r] - top) : 0.0F;
    sum += weight[r];
  }
  sum += shuffle_xor(sum, 1);
  sum += shuffle_xor(sum, 2);
#pragma unroll
  for (int r = 0; r < 8; ++r) weight[r] /= sum;
  if (!write) return;
  if (knn == kept_keys) {
    auto* row = reinterpret_cast<uint4*>(indices + member * 8);
    row[0] = make_uint4(rows[0], rows[1], rows[2], rows[3]);
    row[1] = make_uint4(rows[4], rows[5], rows[6], rows[7]);
    store(weights + member * 8, weight);
    return;
  }
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    if (member * 8 + r >= knn) continue;
    indices[member * 8 + r] = static_cast<std::int32_t>(rows[r]);
    weights[member * 8 + r] = to_bfloat16(weight[r]);
  }
}

// Eight lookups, one a team.
__device__ __forceinline__ void combine(std::int32_t* indices, bfloat16* weights,
                                        const Lookup& lookup, int member, bool write) {
  std::uint32_t rows[8];
  float scores[8];
  Key best[8];
  const bool tie = best_pairs(best, lookup, member);
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    rows[r] = index_of(best[r]);
    scores[r] = score_of(best[r]);
  }
  if (__any_sync(all_lanes, tie)) {
    PairKey exact[8];
    best_pairs(exact, lookup, member);
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      rows[r] = index_of(exact[r]);
      scores[r] = score_of(exact[r]);
    }
  }
  write_lookup(indices, weights, rows, scores, lookup.knn, member, write);
}

}  // namespace memengine::cuda::product_key::hopper
