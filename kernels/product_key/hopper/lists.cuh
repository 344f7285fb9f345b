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
// With some 37 candidates per row, lists overflow once in some thousands of rows. Nothing looks out
// for that while candidates are pushed: pushes past the end stay within the row's space, and what
// was lost shows in the counts at the end. Such rows are looked up once more, from all of their
// scores (again.cuh). (Rows in a special order, or ties, come to that.)
#pragma once

#include "kernels/product_key/candidate.cuh"
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
  __device__ Candidates(WarpLists& lists, int lane)
      : lists_(lists),
        lane_(lane),
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
  }

  // Scores of keys first_key .. first_key + 127, in ascending order of keys.
  __device__ __forceinline__ void take(const float (&scores)[64], int first_key) {
    push<0>(scores, first_key + lane_ % 4 * 2);
    push<4>(scores, first_key + lane_ % 4 * 2);
    push<8>(scores, first_key + lane_ % 4 * 2);
    push<12>(scores, first_key + lane_ % 4 * 2);
  }

  // After the last chunk: have candidates of this lane's two rows been lost? Bit 0 and bit 1, the
  // same in the four lanes of a row. All lanes of the warp come here.
  __device__ __forceinline__ unsigned lost() const {
    unsigned lost = 0;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int mine = count(row), both = mine + shuffle_xor(mine, 1);
      if (mine >= most_of_a_lane || both > pair_capacity) lost |= 1U << row;
    }
    lost |= shuffle_xor(lost, 1);
    return lost | shuffle_xor(lost, 2);
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
  template <int first_block>
  __device__ __forceinline__ void push(const float (&scores)[64], int first_column) {
    stay_within(0);
    stay_within(1);
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
  WarpLists& lists_;
  int lane_, step_;
  float bar_[2], top_[2], scale_[2];
  std::uint32_t first_, next_[2];
};

}  // namespace memengine::cuda::product_key::hopper
