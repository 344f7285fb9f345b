// The candidates of a warp's 16 rows of scores, while the scores go by, twice.
//
// A row's scores come in chunks of 128, four lanes having 32 each (the layout of the tensor cores'
// sums: lane l has columns 8 j + 2 (l % 4) and the next one, of rows l / 4 and l / 4 + 8).
//
// The first time a lane only keeps the maxima of 16 groups of columns a row, so a row has 64
// groups. The 32nd largest of these maxima is a score that at least 32 reach, and of scores in no
// special order only some 43 do, however many there were: it is the row's bar. The eighth largest
// of each lane's 16 brackets it, and bisection with counts narrows it.
//
// The second time a lane keeps the scores above the bar in two lists of its own in shared memory,
// one a row: pushing needs no word with other lanes, and the lists are laid out so that no two
// lanes ever share a bank. To compute the product twice is cheaper than to raise the bar on the way
// and to sort out the lists again and again: three times as many scores would pass.
//
// Where lists fill up (which takes rows in a special order, or ties), the exact knn best so far are
// selected, one row at a time.
#pragma once

#include "kernels/product_key/best.cuh"

namespace memengine::cuda::product_key::hopper {

constexpr int chunk_keys = 128;
constexpr int list_capacity = 32;
constexpr int most_kept = 32;  // knn is at most this

// From one entry of a lane's list to the next.
constexpr int score_bytes = warp_size * sizeof(float);
constexpr int index_bytes = warp_size * sizeof(std::uint16_t);

struct WarpLists {
  float score[2][list_capacity][warp_size];
  std::uint16_t index[2][list_capacity][warp_size];
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

__device__ __forceinline__ float eighth_largest(const float (&x)[16]) {
  float low[8], high[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    low[i] = x[i];
    high[i] = x[i + 8];
  }
  sort_eight(low);
  sort_eight(high);
  float result = fmaxf(low[0], high[7]);  // the eight largest of both, and of these the least
#pragma unroll
  for (int i = 1; i < 8; ++i) result = fminf(result, fmaxf(low[i], high[7 - i]));
  return result;
}

class Candidates {
 public:
  __device__ Candidates(WarpLists& lists, int lane, int knn, int n_keys)
      : lists_(lists),
        lane_(lane),
        knn_(knn),
        n_keys_(n_keys),
        first_score_(address(&lists.score[0][0][lane])),
        first_index_(address(&lists.index[0][0][lane])) {}

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

  // The first time: the scores of keys first_key .. first_key + 127.
  __device__ __forceinline__ void see(float (&scores)[64], int first_key) {
    hide_missing(scores, first_key);
#pragma unroll
    for (int j = 0; j < 16; ++j) {
#pragma unroll
      for (int row = 0; row < 2; ++row) {
        const float pair = fmaxf(scores[4 * j + 2 * row], scores[4 * j + 2 * row + 1]);
        maxima_[row][j] = fmaxf(maxima_[row][j], pair);
      }
    }
  }

  // Between the first time and the second.
  __device__ __forceinline__ void raise_bars() {
    float low[2], high[2];
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const float eighth = eighth_largest(maxima_[row]);
      low[row] = fminf(eighth, shuffle_xor(eighth, 1));
      high[row] = fmaxf(eighth, shuffle_xor(eighth, 1));
      low[row] = fminf(low[row], shuffle_xor(low[row], 2));
      high[row] = fmaxf(high[row], shuffle_xor(high[row], 2));
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
    for (int row = 0; row < 2; ++row) bar_[row] = fmaxf(bar_[row], next_below(low[row]));
  }

  // The second time, in ascending order of keys.
  __device__ __forceinline__ void take(float (&scores)[64], int first_key) {
    hide_missing(scores, first_key);
    const int first_column = first_key + lane_ % 4 * 2;
#pragma unroll 1
    for (int part = 0; part < 4; ++part) {
      if (__any_sync(all_lanes, max(count(0), count(1)) > list_capacity - 8)) keep_best_of_all();
      switch (part) {
        case 0:
          push<0>(scores, first_column);
          break;
        case 1:
          push<4>(scores, first_column);
          break;
        case 2:
          push<8>(scores, first_column);
          break;
        default:
          push<12>(scores, first_column);
      }
    }
  }

  // After the last chunk: at most 64 candidates a row are left, the knn best among them.
  __device__ __forceinline__ void finish() {
    const int most = max(of_team(count(0)), of_team(count(1)));
    if (__any_sync(all_lanes, most > 64)) keep_best_of_all();
    __syncwarp();
  }

  // Candidates of row `row` of this lane's two, spread over its four lanes, 16 each; 0 where there
  // is none.
  __device__ __forceinline__ void collect(Key (&keys)[16], int row) const {
    const int team = lane_ & ~3;
    const int mine = row == 0 ? count(0) : count(1);
    const int first = shuffle(mine, team);
    const int second = first + shuffle(mine, team + 1);
    const int third = second + shuffle(mine, team + 2);
    const int total = third + shuffle(mine, team + 3);
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const int place = lane_ % 4 * 16 + r;
      int owner = 0, before = 0;
      if (place >= first) owner = 1, before = first;
      if (place >= second) owner = 2, before = second;
      if (place >= third) owner = 3, before = third;
      const Key key = key_at(row, min(place - before, list_capacity - 1), team + owner);
      keys[r] = place < total ? key : 0;
    }
  }

 private:
  __device__ __forceinline__ Key key_at(int row, int entry, int lane) const {
    return make_key(lists_.score[row][entry][lane], lists_.index[row][entry][lane]);
  }

  __device__ __forceinline__ static int of_team(int x) {
    x += shuffle_xor(x, 1);
    return x + shuffle_xor(x, 2);
  }

  // Columns past the last key are worse than all others.
  __device__ __forceinline__ void hide_missing(float (&scores)[64], int first_key) const {
    if (first_key + chunk_keys <= n_keys_) return;
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      if (first_key + lane_ % 4 * 2 + i / 4 * 8 + i % 2 >= n_keys_) scores[i] = -INFINITY;
    }
  }

  // Four column blocks from `first_block` on: eight scores a row. Written out as instructions under
  // a predicate, where the compiler would branch.
  template <int first_block>
  __device__ __forceinline__ void push(const float (&scores)[64], int first_column) {
#pragma unroll
    for (int i = 0; i < 8; ++i) {
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
            : "f"(score), "f"(bar_[row]), "h"(static_cast<std::uint16_t>(index)), "n"(score_bytes),
              "n"(index_bytes)
            : "memory");
      }
    }
  }

  __device__ __forceinline__ static std::uint32_t address(const void* shared) {
    return static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  }
  __device__ __forceinline__ int count(int row) const {
    return static_cast<int>(next_score_[row] - first_score_) / score_bytes - row * list_capacity;
  }
  __device__ __forceinline__ void set_count(int row, int count) {
    next_score_[row] =
        first_score_ + static_cast<std::uint32_t>((row * list_capacity + count) * score_bytes);
    next_index_[row] =
        first_index_ + static_cast<std::uint32_t>((row * list_capacity + count) * index_bytes);
  }

  // The whole warp sorts one row's candidates after the other and deals the knn best out to the
  // row's four lanes. Later keys must exceed the last of them: equal ones have a higher index.
  __device__ __forceinline__ void keep_best_of_all() {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
#pragma unroll 1
      for (int team = 0; team < warp_size; team += 4) {
        __syncwarp();
        const int owner = team + lane_ % 4;
        const int entries = shuffle(count(row), owner);
        Key keys[4];
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          const int entry = r * 8 + lane_ / 4;
          keys[r] = entry < entries ? key_at(row, entry, owner) : 0;
        }
        __syncwarp();
        sort_descending(keys, lane_);
        const int kept = __popc(__ballot_sync(all_lanes, lane_ < knn_ && keys[0] != 0));
        if (lane_ < kept) {
          lists_.score[row][lane_ / 4][owner] = score_of(keys[0]);
          lists_.index[row][lane_ / 4][owner] = static_cast<std::uint16_t>(index_of(keys[0]));
        }
        const float last = score_of(shuffle(keys[0], knn_ - 1));
        if ((lane_ & ~3) == team) {
          set_count(row, (kept + 3 - lane_ % 4) / 4);
          if (kept == knn_) bar_[row] = fmaxf(bar_[row], last);
        }
      }
    }
    __syncwarp();
  }

  WarpLists& lists_;
  int lane_, knn_, n_keys_;
  float bar_[2];
  std::uint32_t first_score_, first_index_;  // addresses of entry 0 of the first row's list
  std::uint32_t next_score_[2], next_index_[2];
  float maxima_[2][16];
};

}  // namespace memengine::cuda::product_key::hopper
