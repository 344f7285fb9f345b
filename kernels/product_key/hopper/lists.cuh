// The candidates of a warp's 16 rows of scores: what exceeds a row's bar (bars.cuh), when the
// scores go by the second time. To compute the product twice is cheaper than to raise a bar on the
// way and to sort the lists out again and again: three times as many scores would pass.
//
// A row's scores come in chunks of 128, four lanes having 32 each (the layout of the tensor cores'
// sums: lane l has columns 8 j + 2 (l % 4) and the next one, of rows l / 4 and l / 4 + 8). A lane
// keeps candidates in two lists in shared memory, one per row: pushing needs no word with other
// lanes. Two neighbouring lanes share the space of 32 entries, one from the first entry up and one
// from the last down, so that what one leaves free is the other's.
//
// With some 37 candidates per row, one list in some thousands would overflow. So after each chunk
// lists that are nearly full are sorted out (make_room), which keeps the exact knn best so far.
// Nothing looks out for the ends while candidates are pushed: pushes past them stay within the
// row's space, and what was lost shows in the counts. Such a block does its work once more,
// carefully, making room before each push. (Rows in a special order, or ties, come to that.)
#pragma once

#include "kernels/product_key/best.cuh"
#include "kernels/product_key/hopper/bars.cuh"
#include "kernels/product_key/hopper/key_stream.cuh"
#include "kernels/product_key/short_key.cuh"

namespace memengine::cuda::product_key::hopper {

constexpr int pair_capacity = 32;   // entries of two lanes
constexpr int columns_at_once = 8;  // of a row, between two looks at the lists' ends
constexpr int most_of_a_lane = pair_capacity - columns_at_once;

// Entry e of pair p of the row of lane 4 t stands at [2 e + p][t].
struct WarpLists {
  float score[2][2 * pair_capacity][8];
  std::uint16_t index[2 * pair_capacity][8][2];  // of both rows
};
constexpr int step_bytes = 2 * 8 * sizeof(float);  // from one entry to the next, of both arrays
constexpr int row_distance = sizeof(WarpLists::score) / 2;

class Candidates {
 public:
  __device__ Candidates(WarpLists& lists, int lane, int knn)
      : lists_(lists),
        lane_(lane),
        knn_(knn),
        step_(lane % 2 == 0 ? step_bytes : -step_bytes),
        first_(static_cast<std::uint32_t>(__cvta_generic_to_shared(
            &lists.score[0][lane % 4 / 2 + (lane % 2 == 0 ? 0 : 2 * pair_capacity - 2)]
                        [lane / 4]))) {}

  // Rows that do not exist take no candidates.
  __device__ __forceinline__ void start(const Bars& bars, bool first_exists, bool second_exists) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      bar_[row] = (row == 0 ? first_exists : second_exists) ? bars.bar[row] : INFINITY;
      top_[row] = bars.top[row];
      scale_[row] = short_scale(bars.top[row] - bars.bar[row]);
      set_count(row, 0);
    }
    lost_ = false;
  }

  // Scores of keys first_key .. first_key + 127, in ascending order of keys.
  template <bool careful>
  __device__ __forceinline__ void take(const float (&scores)[64], int first_key) {
    push<careful, 0>(scores, first_key + lane_ % 4 * 2);
    push<careful, 4>(scores, first_key + lane_ % 4 * 2);
    push<careful, 8>(scores, first_key + lane_ % 4 * 2);
    push<careful, 12>(scores, first_key + lane_ % 4 * 2);
  }

  // Between two chunks: sorts out the lists of rows of which two lanes have more than `most`.
  __device__ __forceinline__ void make_room(int most) {
    const std::uint32_t both = count_bytes_of_two();
    const bool full[2] = {(both & 0xffffU) > static_cast<std::uint32_t>(most * step_bytes),
                          (both >> 16) > static_cast<std::uint32_t>(most * step_bytes)};
    if (__any_sync(all_lanes, full[0] || full[1])) keep_best(full);
  }

  // After the last chunk: was nothing lost? Of this lane.
  __device__ __forceinline__ bool complete() {
    count_bytes_of_two();
    return !lost_;
  }

  // Candidates of row `row` of this lane's two as short keys with their place in the lists, spread
  // over the row's four lanes, 16 each.
  __device__ __forceinline__ void collect(ShortKey (&keys)[16], int row) const {
    const std::uint32_t there = valid_entries(row);
    const float top = row == 0 ? top_[0] : top_[1], scale = row == 0 ? scale_[0] : scale_[1];
    const int first = lane_ % 2 * 32 + lane_ % 4 / 2;
    const float* scores = &lists_.score[row][first][lane_ / 4];
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const ShortKey key =
          short_key(top, scores[r * 16], scale, static_cast<ShortKey>(first + r * 2));
      keys[r] = (there >> r & 1) != 0 ? key : 0;
    }
  }
  // The candidate that collect() gave this tag.
  __device__ __forceinline__ float score_at(int row, std::uint32_t tag) const {
    return lists_.score[row][tag][lane_ / 4];
  }
  __device__ __forceinline__ std::uint16_t index_at(int row, std::uint32_t tag) const {
    return lists_.index[tag][lane_ / 4][row];
  }

  // The same as whole keys; 0 where there is none.
  __device__ __forceinline__ void collect(Key (&keys)[16], int row) const {
    const std::uint32_t there = valid_entries(row);
    const std::uint32_t first = lane_ % 2 * 32 + lane_ % 4 / 2;
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      keys[r] = (there >> r & 1) != 0
                    ? make_key(score_at(row, first + r * 2), index_at(row, first + r * 2))
                    : 0;
    }
  }

 private:
  // Which of 16 entries of the pair's, the first 16 for its first lane, hold a candidate.
  __device__ __forceinline__ std::uint32_t valid_entries(int row) const {
    const int mine = row == 0 ? count(0) : count(1), other = shuffle_xor(mine, 1);
    const int up = lane_ % 2 == 0 ? mine : other, down = lane_ % 2 == 0 ? other : mine;
    const auto ones = [](int n) { return static_cast<std::uint32_t>((1ULL << n) - 1); };
    const std::uint32_t entries = ones(up) | ~ones(max(pair_capacity - down, 0));
    return entries >> lane_ % 2 * 16;
  }

  // Four column blocks from `first_block` on: eight scores a row. Written out as instructions under
  // a predicate, where the compiler would branch.
  template <bool careful, int first_block>
  __device__ __forceinline__ void push(const float (&scores)[64], int first_column) {
    if constexpr (careful) {
      make_room(pair_capacity - 2 * columns_at_once);
    } else {
      stay_within(0);
      stay_within(1);
    }
#pragma unroll
    for (int i = 0; i < columns_at_once; ++i) {
      const int block = first_block + i / 2;
      const auto index = static_cast<std::uint16_t>(first_column + block * 8 + i % 2);
      push_one<0>(scores[block * 4 + i % 2], index);
      push_one<1>(scores[block * 4 + 2 + i % 2], index);
    }
  }
  template <int row>
  __device__ __forceinline__ void push_one(float score, std::uint16_t index) {
    constexpr int to_index = row == 0 ? 2 * row_distance : row_distance + sizeof(index);
    static_assert(sizeof(lists_.score[0][0][0]) == sizeof(lists_.index[0][0]));
    asm volatile(
        "{\n.reg .pred p;\n"
        "setp.gtu.f32 p, %1, %2;\n"  // greater, or not a number
        "@p st.shared.f32 [%0], %1;\n"
        "@p st.shared.u16 [%0 + %5], %3;\n"
        "@p add.u32 %0, %0, %4;\n}"
        : "+r"(next_[row])
        : "f"(score), "f"(bar_[row]), "h"(index), "r"(step_), "n"(to_index)
        : "memory");
  }

  __device__ __forceinline__ std::uint32_t first_of(int row) const {
    return first_ + static_cast<std::uint32_t>(row * row_distance);
  }
  __device__ __forceinline__ int count(int row) const {
    return abs(static_cast<int>(next_[row] - first_of(row))) / step_bytes;
  }
  __device__ __forceinline__ void set_count(int row, int count) {
    next_[row] = first_of(row) + static_cast<std::uint32_t>(count * step_);
  }
  // No further than that eight more entries still lie in the row's space.
  __device__ __forceinline__ void stay_within(int row) {
    const std::uint32_t last = first_of(row) + static_cast<std::uint32_t>(most_of_a_lane * step_);
    next_[row] = lane_ % 2 == 0 ? min(next_[row], last) : max(next_[row], last);
  }
  // How far this lane and its neighbour have come together, in bytes: the second row in the high
  // half. Notes whether they have lost candidates. All lanes of the warp must come here.
  __device__ __forceinline__ std::uint32_t count_bytes_of_two() {
    const auto mine =
        static_cast<std::uint32_t>(abs(static_cast<int>(next_[0] - first_of(0))) +
                                   abs(static_cast<int>(next_[1] - first_of(1))) * 0x10000);
    const std::uint32_t both = mine + shuffle_xor(mine, 1);
    const auto exceed = [](std::uint32_t bytes, int most) {
      return max(bytes & 0xffffU, bytes >> 16) > static_cast<std::uint32_t>(most * step_bytes);
    };
    lost_ = lost_ || exceed(mine, most_of_a_lane - 1) || exceed(both, pair_capacity);
    return both;
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
        const int mine = count(row);
        Key keys[2];
#pragma unroll
        for (int pair = 0; pair < 2; ++pair) {
          const int up = shuffle(mine, team * 4 + pair * 2);
          const int down = shuffle(mine, team * 4 + pair * 2 + 1);
          const bool there = lane_ < up || lane_ >= pair_capacity - down;
          keys[pair] = there ? make_key(lists_.score[row][lane_ * 2 + pair][team],
                                        lists_.index[lane_ * 2 + pair][team][row])
                             : 0;
        }
        __syncwarp();
        sort_descending(keys, lane_);
        const int kept = __popc(__ballot_sync(all_lanes, lane_ < knn_ && keys[0] != 0));
        if (lane_ < kept) {
          const int entry = lane_ % 2 == 0 ? lane_ / 4 : pair_capacity - 1 - lane_ / 4;
          const int place = entry * 2 + lane_ % 4 / 2;
          lists_.score[row][place][team] = score_of(keys[0]);
          lists_.index[place][team][row] = static_cast<std::uint16_t>(index_of(keys[0]));
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
  int lane_, knn_, step_;
  bool lost_;
  float bar_[2], top_[2], scale_[2];
  std::uint32_t first_, next_[2];
};

}  // namespace memengine::cuda::product_key::hopper
