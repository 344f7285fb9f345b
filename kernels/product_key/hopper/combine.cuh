// From the sorted best of both halves to a lookup's rows and weights, by four lanes a lookup.
//
// Of the knn x knn pairs (a, b) only those with (a + 1)(b + 1) <= knn can win (product_key.h), 119
// of them for knn 32. They lie in hooks around (d, d): the row (d, b >= d) and the column
// (a > d, d), each in descending order already. Two sorted lists (row and column of hook 0), one
// bitonic (hook 1) and one of the 27 pairs left are merged, the better 32 kept each time.
//
// Pairs are ordered as short keys first (short_key.cuh), by the rounded sum. Only where two of the
// best cannot be told apart the lookup is done once more with exact sums.
#pragma once

#include "kernels/product_key/team_sort.cuh"

namespace memengine::cuda::product_key::hopper {

constexpr int team_lanes = 4;
constexpr int kept_keys = 32;
constexpr int rows_at_once = warp_size / team_lanes;

// The best of one half for eight rows of scores, in 16-byte pieces; the distance keeps the rows in
// different banks.
struct alignas(16) SortedHalf {
  float score[rows_at_once][kept_keys + 4];
  std::uint16_t index[rows_at_once][kept_keys + 8];
};

// All pairs of the four lists, as a * 256 + b.
struct PairLists {
  std::uint16_t pair[4 * kept_keys];
};

constexpr PairLists make_pair_lists() {
  PairLists list{};
  for (int i = 0; i < 32; ++i) {
    list.pair[i] = static_cast<std::uint16_t>(i);                   // row of hook 0
    list.pair[32 + i] = static_cast<std::uint16_t>((i + 1) * 256);  // its column
    list.pair[64 + i] = static_cast<std::uint16_t>(i < 16 ? 256 + i + 1 : (33 - i) * 256 + 1);
  }
  int count = 96;
  for (int a = 2; a < 32; ++a) {
    for (int b = 2; b < 32; ++b) {
      if ((a + 1) * (b + 1) > 32) continue;
      list.pair[count++] = static_cast<std::uint16_t>(a * 256 + b);
    }
  }
  while (count < 128) list.pair[count++] = 31 * 256 + 31;  // never a candidate
  return list;
}
__device__ const PairLists pair_lists = make_pair_lists();

struct Lookup {
  const float* first_score;
  const float* second_score;
  const std::uint16_t* first_index;
  const std::uint16_t* second_index;
  int knn, n_keys;

  __device__ __forceinline__ float sum(int a, int b) const {
    return first_score[a] + second_score[b];
  }
  __device__ __forceinline__ std::uint32_t row(int a, int b) const {
    return static_cast<std::uint32_t>(first_index[a]) * n_keys + second_index[b];
  }
};

// Pairs as short keys, their number in pair_lists being the tag. What is below both ends of hook 0
// has knn better ones.
struct ShortPairs {
  using Key = ShortKey;
  const Lookup& lookup;
  float top, range, scale;

  __device__ explicit ShortPairs(const Lookup& of) : lookup(of), top(of.sum(0, 0)) {
    range = top - fmaxf(of.sum(0, of.knn - 1), of.sum(of.knn - 1, 0));
    scale = short_scale(range);
  }
  // (a + 1)(b + 1) = `beaten_by`, the pair's rank at best.
  __device__ __forceinline__ ShortKey key(float first, float second, int, int, int beaten_by,
                                          int number) const {
    const float sum = first + second;
    const ShortKey key = short_key(top, sum, scale, static_cast<ShortKey>(number));
    return beaten_by <= lookup.knn && top - sum <= range ? key : 0;
  }
};

// Pairs with their exact sums.
struct ExactPairs {
  using Key = PairKey;
  const Lookup& lookup;

  __device__ __forceinline__ PairKey key(float first, float second, int a, int b, int beaten_by,
                                         int) const {
    if (beaten_by > lookup.knn) return {};
    return make_pair(first, second, lookup.row(a, b));
  }
};

// best = the 32 best pairs, of which knn are valid. Returns whether two scores that matter are
// equal, as far as the keys tell.
template <typename Pairs>
__device__ __forceinline__ bool best_pairs(typename Pairs::Key (&best)[8], const Pairs& pairs,
                                           int member) {
  const Lookup& lookup = pairs.lookup;
  std::uint32_t left_out = 0;
  typename Pairs::Key next[8];
  {
    float first[8], second[8];
    load(lookup.first_score + member * 8, first);
    load(lookup.second_score + member * 8, second);
    const float best_first = lookup.first_score[0], best_second = lookup.second_score[0];
    const float after = __shfl_down_sync(all_lanes, first[0], 1);  // past the last lane: not used
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int i = member * 8 + r;
      best[r] = pairs.key(best_first, second[r], 0, i, i + 1, i);
      next[r] = pairs.key(r < 7 ? first[(r + 1) % 8] : after, best_second, min(i + 1, 31), 0, i + 2,
                          32 + i);
    }
  }
  keep_better<team_lanes>(best, next, left_out, member);
  {
    // Hook 1: members 0 and 1 have the row (1, 1 ..), the others the column (.. 2, 1) from its end.
    const bool in_row = member < 2;
    const float other = in_row ? lookup.first_score[1] : lookup.second_score[1];
    const float* scores =
        in_row ? lookup.second_score + member * 8 + 1 : lookup.first_score + 33 - member * 8;
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int i = member * 8 + r, of_list = in_row ? i + 1 : 33 - i;
      const float score = scores[in_row ? r : -r];
      next[r] = pairs.key(in_row ? other : score, in_row ? score : other, in_row ? 1 : of_list,
                          in_row ? of_list : 1, 2 * (of_list + 1), 64 + i);
    }
  }
  merge_in_team<team_lanes>(next, member);
  keep_better<team_lanes>(best, next, left_out, member);
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    const int number = 96 + member * 8 + r;
    const int pair = pair_lists.pair[number], a = pair / 256, b = pair % 256;
    next[r] =
        pairs.key(lookup.first_score[a], lookup.second_score[b], a, b, (a + 1) * (b + 1), number);
  }
  sort_in_team<team_lanes>(next, member);
  keep_better<team_lanes>(best, next, left_out, member);

  // Neighbours with the same score, the last one's being the best of those left out.
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
  const ShortPairs pairs(lookup);
  ShortKey best[8];
  const bool tie = best_pairs(best, pairs, member) || !has_scale(pairs.range);
  if (!__any_sync(all_lanes, tie && write)) {
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int pair = pair_lists.pair[tag_of(best[r])];
      rows[r] = lookup.row(pair / 256, pair % 256);
      scores[r] = lookup.sum(pair / 256, pair % 256);
    }
  } else {
    PairKey exact[8];
    best_pairs(exact, ExactPairs{lookup}, member);
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      rows[r] = index_of(exact[r]);
      scores[r] = score_of(exact[r]);
    }
  }
  write_lookup(indices, weights, rows, scores, lookup.knn, member, write);
}

}  // namespace memengine::cuda::product_key::hopper
