// The candidates of a warp's 16 rows of scores, while the scores go by, twice.
//
// A row's scores come in chunks of 64, four lanes having 16 each (the layout of the tensor cores'
// sums: lane l has columns 8 j + 2 (l % 4) and the next one, of rows l / 4 and l / 4 + 8).
//
// The first time a lane only keeps the maxima of its 16 columns of all chunks, so a row has 64
// groups. The 32nd largest of these maxima is a score that at least 32 reach, and of scores in no
// special order only some 43 do, however many there were: it is the row's bar. The eighth largest
// of each lane's 16 brackets it, and bisection with counts narrows it.
//
// The second time a lane keeps the scores above the bar in two lists in shared memory, one per row:
// pushing needs no word with other lanes. Two neighbouring lanes share the space of two lists, one
// from its first entry up and one from its last down, so that what one leaves free is the other's.
// To compute the product twice is cheaper than to raise the bar on the way and to sort out the
// lists again and again: three times as many scores would pass.
//
// Where the space fills up (which takes rows in a special order, or ties), the exact knn best so
// far of that row are selected.
#pragma once

#include "kernels/product_key/best.cuh"
#include "kernels/product_key/short_key.cuh"

namespace memengine::cuda::product_key::hopper::many_keys {

constexpr int chunk_keys = 64;
constexpr int pair_capacity = 40;  // entries of two lanes
constexpr int pairs_of_lanes = warp_size / 2;
constexpr int most_kept = 32;  // knn is at most this

// From one entry to the next.
constexpr int score_bytes = pairs_of_lanes * sizeof(float);
constexpr int index_bytes = pairs_of_lanes * sizeof(std::uint16_t);

struct WarpLists {
  float score[2][pair_capacity][pairs_of_lanes];
  std::uint16_t index[2][pair_capacity][pairs_of_lanes];
};

// The largest number below x; NaN for -infinity, which nothing is at or below.
__device__ __forceinline__ float next_below(float x) {
  const int bits = __float_as_int(x);
  return __int_as_float(x > 0 ? bits - 1 : (x == 0 ? static_cast<int>(0x80000001U) : bits + 1));
}

__device__ __forceinline__ void sort_eight(float (&x)[8]) {
  constexpr int pairs[19][2] = {{0, 2}, {1, 3}, {4, 6}, {5, 7}, {0, 4}, {1, 5}, {2, 6},
                                {3, 7}, {0, 1}, {2, 3}, {4, 5}, {6, 7}, {2, 4}, {3, 5},
                                {1, 4}, {3, 6}, {1, 2}, {3, 4}, {5, 6}};
#pragma unroll
  for (int i = 0; i < 19; ++i) {
    const float a = x[pairs[i][0]], b = x[pairs[i][1]];
    x[pairs[i][0]] = fmaxf(a, b);
    x[pairs[i][1]] = fminf(a, b);
  }
}

// And the largest of all.
__device__ __forceinline__ float eighth_largest(const float (&x)[16], float& largest) {
  float low[8], high[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    low[i] = x[i];
    high[i] = x[i + 8];
  }
  sort_eight(low);
  sort_eight(high);
  largest = fmaxf(low[0], high[0]);
  float result = fmaxf(low[0], high[7]);  // the eight largest of both, and of these the least
#pragma unroll
  for (int i = 1; i < 8; ++i) result = fminf(result, fmaxf(low[i], high[7 - i]));
  return result;
}

// How many candidates the four lanes of a row have, one after the other.
struct Dealt {
  int first, second, third, total;  // up to and including each lane's

  // Where the candidate `place` of the row's stands: the pair of its lane (0 or 1), its entry.
  __device__ __forceinline__ void locate(int place, int& pair, int& entry) const {
    pair = place >= second ? 1 : 0;
    const int up = pair != 0 ? third - second : first;  // those that the pair's first lane has
    const int in_pair = place - (pair != 0 ? second : 0);
    entry = in_pair < up ? in_pair : pair_capacity - 1 + up - in_pair;
  }
};

class Candidates {
 public:
  __device__ Candidates(WarpLists& lists, int lane, int knn, int n_keys)
      : lists_(lists),
        lane_(lane),
        knn_(knn),
        n_keys_(n_keys),
        score_step_(lane % 2 == 0 ? score_bytes : -score_bytes),
        first_score_(address(&lists.score[0][lane % 2 == 0 ? 0 : pair_capacity - 1][lane / 2])),
        first_index_(address(&lists.index[0][lane % 2 == 0 ? 0 : pair_capacity - 1][lane / 2])) {}

  // Before a row pair's first chunk. Rows that do not exist take no candidates.
  __device__ __forceinline__ void start(bool first_exists, bool second_exists) {
    const float none = __int_as_float(0x7fffffff);
    bar_[0] = first_exists ? none : INFINITY;
    bar_[1] = second_exists ? none : INFINITY;
    set_count(0, 0);
    set_count(1, 0);
#pragma unroll
    for (int j = 0; j < 16; ++j) maxima_[0][j] = maxima_[1][j] = -INFINITY;
  }

  // The first time: the scores of keys first_key .. first_key + 63.
  __device__ __forceinline__ void see(float (&scores)[32], int first_key) {
    hide_missing(scores, first_key);
#pragma unroll
    for (int j = 0; j < 16; ++j) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        maxima_[row][j] = fmaxf(maxima_[row][j], scores[j / 2 * 4 + row * 2 + j % 2]);
      }
    }
  }

  // Between the first time and the second.
  __device__ __forceinline__ void raise_bars() {
    float low[2], high[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float eighth = eighth_largest(maxima_[row], top_[row]);
      low[row] = fminf(eighth, shuffle_xor(eighth, 1));
      high[row] = fmaxf(eighth, shuffle_xor(eighth, 1));
      low[row] = fminf(low[row], shuffle_xor(low[row], 2));
      high[row] = fmaxf(high[row], shuffle_xor(high[row], 2));
      top_[row] = fmaxf(top_[row], shuffle_xor(top_[row], 1));
      top_[row] = fmaxf(top_[row], shuffle_xor(top_[row], 2));
    }
#pragma unroll 1
    for (int step = 0; step < 5; ++step) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const float middle = low[row] * 0.5F + high[row] * 0.5F;
        int reach = 0;
#pragma unroll
        for (int j = 0; j < 16; ++j) reach += maxima_[row][j] >= middle ? 1 : 0;
        const bool enough = of_team(reach) >= most_kept;
        low[row] = enough ? middle : low[row];
        high[row] = enough ? high[row] : middle;
      }
    }
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      bar_[row] = fmaxf(bar_[row], next_below(low[row]));
      scale_[row] = short_scale(top_[row] - bar_[row]);
    }
  }

  // The second time, in ascending order of keys.
  __device__ __forceinline__ void take(float (&scores)[32], int first_key) {
    hide_missing(scores, first_key);
    const int first_column = first_key + lane_ % 4 * 2;
    push<0>(scores, first_column);
    push<2>(scores, first_column);
    push<4>(scores, first_column);
    push<6>(scores, first_column);
  }

  // After the last chunk: at most 64 candidates a row are left, the knn best among them.
  __device__ __forceinline__ void finish() {
    const bool many[2] = {of_team(count(0)) > 64, of_team(count(1)) > 64};
    if (__any_sync(all_lanes, many[0] || many[1])) keep_best(many);
    __syncwarp();
  }

  // Candidates of row `row` of this lane's two as short keys with their place in the lists, spread
  // over its four lanes, 16 each.
  __device__ __forceinline__ void collect(ShortKey (&keys)[16], int row) const {
    const Dealt dealt = dealt_to(lane_ & ~3, row == 0 ? count(0) : count(1));
    const float top = row == 0 ? top_[0] : top_[1], scale = row == 0 ? scale_[0] : scale_[1];
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const int place = lane_ % 4 * 16 + r;
      int pair, entry;
      dealt.locate(min(place, dealt.total - 1), pair, entry);
      const float score = lists_.score[row][max(entry, 0)][lane_ / 4 * 2 + pair];
      keys[r] = place < dealt.total
                    ? short_key(top, score, scale, static_cast<std::uint32_t>(entry * 2 + pair))
                    : 0;
    }
  }
  // The candidate that collect() gave this tag.
  __device__ __forceinline__ float score_at(int row, std::uint32_t tag) const {
    return lists_.score[row][tag / 2][lane_ / 4 * 2 + static_cast<int>(tag % 2)];
  }
  __device__ __forceinline__ std::uint16_t index_at(int row, std::uint32_t tag) const {
    return lists_.index[row][tag / 2][lane_ / 4 * 2 + static_cast<int>(tag % 2)];
  }

  // The same as whole keys; 0 where there is none.
  __device__ __forceinline__ void collect(Key (&keys)[16], int row) const {
    const Dealt dealt = dealt_to(lane_ & ~3, row == 0 ? count(0) : count(1));
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      keys[r] = key_at(row, lane_ / 4, lane_ % 4 * 16 + r, dealt);
    }
  }

 private:
  // The candidate `place` of a team's row.
  __device__ __forceinline__ Key key_at(int row, int team, int place, const Dealt& dealt) const {
    if (place >= dealt.total) return 0;
    int pair, entry;
    dealt.locate(place, pair, entry);
    return make_key(lists_.score[row][entry][team * 2 + pair],
                    lists_.index[row][entry][team * 2 + pair]);
  }

  __device__ __forceinline__ static Dealt dealt_to(int first_lane, int mine) {
    Dealt dealt{};
    dealt.first = shuffle(mine, first_lane);
    dealt.second = dealt.first + shuffle(mine, first_lane + 1);
    dealt.third = dealt.second + shuffle(mine, first_lane + 2);
    dealt.total = dealt.third + shuffle(mine, first_lane + 3);
    return dealt;
  }

  __device__ __forceinline__ static int of_team(int x) {
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
  }

  // Columns past the last key are worse than all others.
  __device__ __forceinline__ void hide_missing(float (&scores)[32], int first_key) const {
    if (first_key + chunk_keys <= n_keys_) return;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      if (first_key + lane_ % 4 * 2 + i / 4 * 8 + i % 2 >= n_keys_) scores[i] = -INFINITY;
    }
  }

  // Two column blocks from `first_block` on: four scores a row. Written out as instructions under a
  // predicate, where the compiler would branch.
  template <int first_block>
  __device__ __forceinline__ void push(const float (&scores)[32], int first_column) {
    const bool full[2] = {is_full(0), is_full(1)};
    if (__any_sync(all_lanes, full[0] || full[1])) [[unlikely]]
      keep_best(full);
    const int index_step = score_step_ / 2;
    static_assert(score_bytes == 2 * index_bytes);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const float score = scores[first_block * 4 + i / 2 * 4 + row * 2 + i % 2];
        const int index = first_column + first_block * 8 + i / 2 * 8 + i % 2;
        asm volatile(
            "{\n.reg .pred p;\n"
            "setp.gtu.f32 p, %2, %3;\n"  // greater, or not a number
            "@p st.shared.f32 [%0], %2;\n"
            "@p st.shared.u16 [%1], %4;\n"
            "@p add.u32 %0, %0, %5;\n"
            "@p add.u32 %1, %1, %6;\n}"
            : "+r"(next_score_[row]), "+r"(next_index_[row])
            : "f"(score), "f"(bar_[row]), "h"(static_cast<std::uint16_t>(index)), "r"(score_step_),
              "r"(index_step)
            : "memory");
      }
    }
  }

  __device__ __forceinline__ static std::uint32_t address(const void* shared) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  }
  __device__ __forceinline__ int count(int row) const {
    const int bytes = static_cast<int>(next_score_[row] - first_score_) -
                      row * static_cast<int>(sizeof(lists_.score[0]));
    return abs(bytes) / score_bytes;
  }
  __device__ __forceinline__ void set_count(int row, int count) {
    next_score_[row] =
        first_score_ + static_cast<std::uint32_t>(row * static_cast<int>(sizeof(lists_.score[0])) +
                                                  count * score_step_);
    next_index_[row] =
        first_index_ + static_cast<std::uint32_t>(row * static_cast<int>(sizeof(lists_.index[0])) +
                                                  count * score_step_ / 2);
  }
  // Is there no room for four more scores of both lanes? Their next entries are one less apart than
  // there are free ones.
  __device__ __forceinline__ bool is_full(int row) const {
    const int other = static_cast<int>(shuffle_xor(next_score_[row], 1));
    return abs(other - static_cast<int>(next_score_[row])) < 7 * score_bytes;
  }

  // The whole warp sorts the candidates of a row that asks for it and deals the knn best out to
  // the row's four lanes. Later keys must exceed the last of them: equal ones have a higher index.
  __device__ __forceinline__ void keep_best(const bool (&wanted)[2]) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      unsigned lanes = __ballot_sync(all_lanes, wanted[row]);
#pragma unroll 1
      while (lanes != 0) {
        const int team = (__ffs(static_cast<int>(lanes)) - 1) / 4;
        lanes &= ~(0xfU << team * 4);
        __syncwarp();
        const Dealt dealt = dealt_to(team * 4, count(row));
        Key keys[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) keys[r] = key_at(row, team, r * warp_size + lane_, dealt);
        __syncwarp();
        sort_descending(keys, lane_);
        const int kept = __popc(__ballot_sync(all_lanes, lane_ < knn_ && keys[0] != 0));
        if (lane_ < kept) {
          const int entry = lane_ % 2 == 0 ? lane_ / 4 : pair_capacity - 1 - lane_ / 4;
          const int pair = team * 2 + lane_ % 4 / 2;
          lists_.score[row][entry][pair] = score_of(keys[0]);
          lists_.index[row][entry][pair] = static_cast<std::uint16_t>(index_of(keys[0]));
        }
        const float last = score_of(shuffle(keys[0], knn_ - 1));
        if (lane_ / 4 == team) {
          set_count(row, (kept + 3 - lane_ % 4) / 4);
          if (kept == knn_) bar_[row] = fmaxf(bar_[row], last);
        }
      }
    }
    __syncwarp();
  }

  WarpLists& lists_;
  int lane_, knn_, n_keys_, score_step_;
  float bar_[2], top_[2], scale_[2];
  std::uint32_t first_score_, first_index_;  // addresses of entry 0 of the first row's list
  std::uint32_t next_score_[2], next_index_[2];
  float maxima_[2][16];
};

}  // namespace memengine::cuda::product_key::hopper::many_keys
