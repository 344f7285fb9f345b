// The product-key lookup of lanes::count tokens side by side, from their scores to rows and
// weights: floats, knn up to 32.
#pragma once

#include <vector>

#include "kernels/cpu/vector_math.h"
#include "kernels/product_key/lanes.h"
#include "kernels/product_key/select.h"

namespace memengine::lanes {

inline constexpr std::int64_t most_direct_keys = 256;           // more are filtered first
inline constexpr std::int64_t most_candidates = 3 * list_size;  // that pass the filter
inline constexpr int groups = 64;

// A thread's working memory beside its scores.
struct Space {
  Keys candidates[most_direct_keys];
  Keys first[list_size], second[list_size];
  product_key::Candidate<float> one_list[2][2 * list_size];
  product_key::PairCandidate<float> pairs[4 * list_size];
};

// scores of one token, `stride` apart: the slow way, into lane `lane`.
inline void best_of_one(Keys (&best)[list_size], int lane, Space& space, const float* scores,
                        std::int64_t stride, std::int64_t n_keys, std::int64_t knn) {
  auto* list = space.one_list[0];
  std::vector<float> row(static_cast<std::size_t>(n_keys));
  for (std::int64_t i = 0; i < n_keys; ++i) row[static_cast<std::size_t>(i)] = scores[i * stride];
  product_key::select_best(list, row.data(), n_keys, knn);
  for (std::int64_t k = 0; k < list_size; ++k) {
    best[k][lane] = k < knn ? key(list[k].score, static_cast<std::uint32_t>(list[k].index)) : 0.0;
  }
}

// The 32nd largest of the maxima of 64 groups of keys: a score that at least 32 reach, and of
// scores in no special order only some 43 do.
inline void find_bars(float (&bars)[count], const float* scores, std::int64_t stride,
                      std::int64_t n_keys) {
  float maxima[groups][count];
  for (int g = 0; g < groups; ++g) {
    for (int lane = 0; lane < count; ++lane) {
      maxima[g][lane] = -std::numeric_limits<float>::infinity();
    }
  }
  for (std::int64_t i = 0; i < n_keys; ++i) {
    float(&maximum)[count] = maxima[i % groups];
    for (int lane = 0; lane < count; ++lane) {
      const float score = scores[i * stride + lane];
      maximum[lane] = score > maximum[lane] ? score : maximum[lane];
    }
  }
  Keys upper[list_size], lower[list_size], left_out{};
  for (int g = 0; g < list_size; ++g) {
    for (int lane = 0; lane < count; ++lane) {
      upper[g][lane] = maxima[g][lane];
      lower[g][lane] = maxima[g + list_size][lane];
    }
  }
  sort(upper);
  sort(lower);
  keep_better(upper, lower, left_out);
  for (int lane = 0; lane < count; ++lane) {
    bars[lane] = static_cast<float>(upper[list_size - 1][lane]);
  }
}

// best = the sorted best of scores [n_keys] of each lane; key i's are at scores + i * stride.
inline void best_keys(Keys (&best)[list_size], Space& space, const float* scores,
                      std::int64_t stride, std::int64_t n_keys, std::int64_t knn) {
  if (n_keys <= most_direct_keys) {
    const std::int64_t blocks = (n_keys + list_size - 1) / list_size;
    for (std::int64_t i = 0; i < n_keys; ++i) {
      space.candidates[i] = keys(scores + i * stride, static_cast<std::uint32_t>(i));
    }
    for (std::int64_t i = n_keys; i < blocks * list_size; ++i) space.candidates[i] = Keys{};
    best_of(best, space.candidates, blocks);
    return;
  }
  float bars[count];
  find_bars(bars, scores, stride, n_keys);
  for (std::int64_t i = 0; i < most_candidates; ++i) space.candidates[i] = Keys{};
  std::int64_t held[count] = {};
  for (std::int64_t i = 0; i < n_keys; ++i) {
    const float* row = scores + i * stride;
    int above = 0;
    for (int lane = 0; lane < count; ++lane) above += row[lane] < bars[lane] ? 0 : 1;
    if (above == 0) continue;
    for (int lane = 0; lane < count; ++lane) {
      if (row[lane] < bars[lane]) continue;
      if (held[lane] < most_candidates) {
        space.candidates[held[lane]][lane] = key(row[lane], static_cast<std::uint32_t>(i));
      }
      ++held[lane];
    }
  }
  const std::int64_t most = *std::max_element(held, held + count);
  best_of(best, space.candidates,
          std::min<std::int64_t>((most + list_size - 1) / list_size, most_candidates / list_size));
  for (int lane = 0; lane < count; ++lane) {
    if (held[lane] > most_candidates) {
      best_of_one(best, lane, space, scores + lane, stride, n_keys, knn);
    }
  }
}

// Of the pairs (a, b) with (a + 1)(b + 1) <= 32 those with a or b = 0 make two sorted lists, those
// with the lesser of both = 1 a bitonic one, and 27 are left.
struct Pair {
  int a, b;
};
constexpr auto list_pairs() {
  std::array<std::array<Pair, list_size>, 4> lists{};
  for (int i = 0; i < list_size; ++i) {
    lists[0][i] = {0, i};
    lists[1][i] = {i + 1, 0};
    lists[2][i] = i < list_size / 2 ? Pair{1, i + 1} : Pair{list_size + 1 - i, 1};
    lists[3][i] = {list_size - 1, list_size - 1};  // never a candidate
  }
  int next = 0;
  for (int a = 2; a < list_size; ++a) {
    for (int b = 2; b < list_size; ++b) {
      if ((a + 1) * (b + 1) <= list_size) lists[3][next++] = {a, b};
    }
  }
  return lists;
}
inline constexpr auto pair_lists = list_pairs();

// list[i] = the pairs of list `which`; payload a * 32 + b.
inline void make_pairs(Keys (&list)[list_size], std::size_t which, const float (*first)[count],
                       const float (*second)[count], std::int64_t knn) {
  for (std::size_t i = 0; i < list_size; ++i) {
    const auto [a, b] = pair_lists[which][i];
    if ((a + 1) * (b + 1) > knn) {
      list[i] = Keys{};
      continue;
    }
    float sums[count];
    for (int lane = 0; lane < count; ++lane) sums[lane] = first[a][lane] + second[b][lane];
    list[i] = keys(sums, static_cast<std::uint32_t>(a * list_size + b));
  }
}

// The lookups of `tokens` <= count lanes. first_scores, second_scores: key i's of all lanes are at
// + i * stride. indices, weights: lane l's [knn] are at + l * out_stride.
inline void look_up(std::int32_t* indices, float* weights, std::int64_t out_stride, int tokens,
                    Space& space, const float* first_scores, const float* second_scores,
                    std::int64_t stride, std::int64_t n_keys, std::int64_t knn) {
  best_keys(space.first, space, first_scores, stride, n_keys, knn);
  best_keys(space.second, space, second_scores, stride, n_keys, knn);
  float first[list_size][count], second[list_size][count];
  for (int i = 0; i < list_size; ++i) {
    double keys[2][count];
    for (int lane = 0; lane < count; ++lane) {
      keys[0][lane] = space.first[i][lane];
      keys[1][lane] = space.second[i][lane];
    }
    for (int lane = 0; lane < count; ++lane) {
      first[i][lane] = score(keys[0][lane]);
      second[i][lane] = score(keys[1][lane]);
    }
  }
  Keys best[list_size], next[list_size], left_out{};
  make_pairs(best, 0, first, second, knn);
  make_pairs(next, 1, first, second, knn);
  keep_better(best, next, left_out);
  make_pairs(next, 2, first, second, knn);
  sort_bitonic(next);
  keep_better(best, next, left_out);
  make_pairs(next, 3, first, second, knn);
  sort(next);
  keep_better(best, next, left_out);

  float scores[list_size][count];
  std::int32_t rows[list_size][count];
  bool tie[count] = {};
  for (int k = 0; k < knn; ++k) {
    const Keys after = k + 1 < list_size ? best[k + 1] : left_out;
    for (int lane = 0; lane < count; ++lane) {
      const std::uint32_t pair = index(best[k][lane]);
      scores[k][lane] = score(best[k][lane]);
      rows[k][lane] = static_cast<std::int32_t>(index(space.first[pair / list_size][lane]) *
                                                    static_cast<std::uint32_t>(n_keys) +
                                                index(space.second[pair % list_size][lane]));
      tie[lane] =
          tie[lane] || (after[lane] != 0 && score_bits(after[lane]) == score_bits(best[k][lane]));
    }
  }
  // Rounded sums are equal: exact ones decide.
  for (int lane = 0; lane < tokens; ++lane) {
    if (!tie[lane]) continue;
    for (int k = 0; k < knn; ++k) {
      space.one_list[0][k] = {first[k][lane],
                              static_cast<std::int32_t>(index(space.first[k][lane]))};
      space.one_list[1][k] = {second[k][lane],
                              static_cast<std::int32_t>(index(space.second[k][lane]))};
    }
    product_key::combine_halves(space.pairs, space.one_list[0], space.one_list[1], knn, n_keys);
    for (int k = 0; k < knn; ++k) {
      scores[k][lane] = space.pairs[k].sum;
      rows[k][lane] = space.pairs[k].row;
    }
  }

  float sums[count] = {}, top[count];
  for (int lane = 0; lane < count; ++lane) top[lane] = scores[0][lane];
  for (int k = 0; k < knn; ++k) {
    for (int lane = 0; lane < count; ++lane) {
      scores[k][lane] = fast_exp(scores[k][lane] - top[lane]);
      sums[lane] += scores[k][lane];
    }
  }
  for (int lane = 0; lane < tokens; ++lane) {
    const float factor = 1 / sums[lane];
    for (int k = 0; k < knn; ++k) {
      indices[lane * out_stride + k] = rows[k][lane];
      weights[lane * out_stride + k] = scores[k][lane] * factor;
    }
  }
}

}  // namespace memengine::lanes
