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

// The best of one half for eight rows of scores; the distance keeps the rows in different banks.
struct SortedHalf {
  float score[rows_at_once][kept_keys + 1];
  std::uint16_t index[rows_at_once][kept_keys + 2];
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
  const Lookup& lookup;
  float top, range, scale;

  __device__ explicit ShortPairs(const Lookup& of) : lookup(of), top(of.sum(0, 0)) {
    range = top - fmaxf(of.sum(0, of.knn - 1), of.sum(of.knn - 1, 0));
    scale = short_scale(range);
  }
  __device__ __forceinline__ ShortKey operator()(int a, int b, int number) const {
    if ((a + 1) * (b + 1) > lookup.knn) return 0;
    const float sum = lookup.sum(a, b);
    if (!(top - sum <= range)) return 0;
    return short_key(top, sum, scale, static_cast<ShortKey>(number));
  }
};

// Pairs with their exact sums.
struct ExactPairs {
  const Lookup& lookup;

  __device__ __forceinline__ PairKey operator()(int a, int b, int) const {
    if ((a + 1) * (b + 1) > lookup.knn) return {};
    return make_pair(lookup.first_score[a], lookup.second_score[b], lookup.row(a, b));
  }
};

// best = the 32 best pairs, of which knn are valid. Returns whether two scores that matter are
// equal, as far as the keys tell.
template <typename AnyKey, typename Pairs>
__device__ __forceinline__ bool best_pairs(AnyKey (&best)[8], const Pairs& key_of, int knn,
                                           int member) {
  std::uint32_t left_out = 0;
  AnyKey next[8];
  const auto list = [&](AnyKey(&keys)[8], int first) {
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int number = first + member * 8 + r;
      const int pair = pair_lists.pair[number];
      keys[r] = key_of(pair / 256, pair % 256, number);
    }
  };
#pragma unroll
  for (int r = 0; r < 8; ++r) {
    best[r] = key_of(0, member * 8 + r, member * 8 + r);
    next[r] = key_of(member * 8 + r + 1, 0, 32 + member * 8 + r);
  }
  keep_better<team_lanes>(best, next, left_out, member);
  list(next, 64);
  merge_in_team<team_lanes>(next, member);
  keep_better<team_lanes>(best, next, left_out, member);
  list(next, 96);
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
    tie = tie || (after != 0 && after == score_bits(best[r]) && member * 8 + r < knn);
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
  const bool tie = best_pairs(best, pairs, lookup.knn, member) || !has_scale(pairs.range);
  if (!__any_sync(all_lanes, tie && write)) {
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      const int pair = pair_lists.pair[tag_of(best[r])];
      rows[r] = lookup.row(pair / 256, pair % 256);
      scores[r] = lookup.sum(pair / 256, pair % 256);
    }
  } else {
    PairKey exact[8];
    best_pairs(exact, ExactPairs{lookup}, lookup.knn, member);
#pragma unroll
    for (int r = 0; r < 8; ++r) {
      rows[r] = index_of(exact[r]);
      scores[r] = score_of(exact[r]);
    }
  }
  write_lookup(indices, weights, rows, scores, lookup.knn, member, write);
}

}  // namespace memengine::cuda::product_key::hopper
