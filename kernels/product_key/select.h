// Selection of the best of many scores on the CPU, one list after the other: for any knn and dtype.
// lanes.h has the fast way for floats and few neighbours.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace memengine::product_key {

template <typename T>
struct Candidate {
  T score;
  std::int32_t index;
};

// Higher scores first; equal scores: the lower index first.
template <typename T>
bool better(const Candidate<T>& a, const Candidate<T>& b) {
  return a.score != b.score ? a.score > b.score : a.index < b.index;
}

// A score that can be ordered: NaN counts as the best, so that it is picked and shows in the
// weights.
template <typename T>
T comparable(T score) {
  return score == score ? score : std::numeric_limits<T>::infinity();
}

// best[0 .. knn) = the knn best of `count` scores, best first. `best` has room for 2 knn.
//
// The first knn scores set a bar: their minimum. A later score must beat it to be held at all (an
// equal one has a higher index), and whenever 2 knn are held, the better half stays and raises the
// bar. Most blocks of scores lie wholly below the bar and cost one vectorised maximum.
template <typename T>
void select_best(Candidate<T>* best, const T* scores, std::int64_t count, std::int64_t knn) {
  T bar = std::numeric_limits<T>::infinity();
  for (std::int64_t i = 0; i < knn; ++i) {
    best[i] = {comparable(scores[i]), static_cast<std::int32_t>(i)};
    bar = std::min(bar, best[i].score);
  }
  std::int64_t held = knn;
  const auto keep_better_half = [&] {
    std::nth_element(best, best + knn - 1, best + held, better<T>);
    held = knn;
    bar = best[knn - 1].score;
  };
  constexpr std::int64_t block = 32;
  for (std::int64_t first = knn; first < count; first += block) {
    const std::int64_t last = std::min(first + block, count);
    int above = 0;
#pragma omp simd reduction(+ : above)
    for (std::int64_t i = first; i < last; ++i) above += scores[i] <= bar ? 0 : 1;
    if (above == 0) continue;
    for (std::int64_t i = first; i < last; ++i) {
      if (scores[i] <= bar) continue;
      best[held++] = {comparable(scores[i]), static_cast<std::int32_t>(i)};
      if (held == 2 * knn) keep_better_half();
    }
  }
  keep_better_half();
  std::sort(best, best + knn, better<T>);
}

// How many pairs (a, b) have (a + 1)(b + 1) <= knn.
inline std::int64_t pair_count(std::int64_t knn) {
  std::int64_t count = 0;
  for (std::int64_t a = 0; a < knn; ++a) count += knn / (a + 1);
  return count;
}

// A pair of halves. Its exact score is sum + error.
template <typename T>
struct PairCandidate {
  T sum, error;
  std::int32_t row;
};

// Rounding is monotone, so rounded sums and then their errors order like the exact sums.
template <typename T>
bool better_pair(const PairCandidate<T>& a, const PairCandidate<T>& b) {
  if (a.sum != b.sum) return a.sum > b.sum;
  return a.error != b.error ? a.error > b.error : a.row < b.row;
}

// Knuth's two-sum: first + second = sum + error, exactly.
template <typename T>
PairCandidate<T> make_pair(const Candidate<T>& first, const Candidate<T>& second,
                           std::int64_t n_keys) {
  const T sum = first.score + second.score;
  const T second_part = sum - first.score;
  const T error = (first.score - (sum - second_part)) + (second.score - second_part);
  return {comparable(sum), error == error ? error : T{0},  // infinite sums are equal
          static_cast<std::int32_t>(first.index * n_keys + second.index)};
}

// pairs[0 .. knn) = the knn best sums of a first and a second half, best first. `pairs` has room
// for pair_count(knn).
template <typename T>
void combine_halves(PairCandidate<T>* pairs, const Candidate<T>* first, const Candidate<T>* second,
                    std::int64_t knn, std::int64_t n_keys) {
  std::int64_t held = 0;
  for (std::int64_t a = 0; a < knn; ++a) {
    for (std::int64_t b = 0; (a + 1) * (b + 1) <= knn; ++b) {
      pairs[held++] = make_pair(first[a], second[b], n_keys);
    }
  }
  std::nth_element(pairs, pairs + knn - 1, pairs + held, better_pair<T>);
  std::sort(pairs, pairs + knn, better_pair<T>);
}

}  // namespace memengine::product_key
