// The candidates of a warp's 16 rows of scores: what exceeds a row's bar (bars.cuh), when the
// scores go by the second time. To compute the product twice is cheaper than to raise a bar on the
// way and to sort the lists out again and again: three times as many scores would pass.
//
// A row's scores come in chunks of 128, four lanes having 32 each (the layout of the tensor cores'
// sums: lane l has columns 8 j + 2 (l % 4) and the next one, of rows l / 4 and l / 4 + 8). A lane
// keeps its candidates of a row in a list of its own in shared memory: pushing needs no word with
// other lanes. The four lists share the row's 64 entries. Of a lane's columns `groups` have a
// maximum above the bar, so it has as many candidates at least, and some 1.2 more: it gets room for
// `groups` and a quarter of what the row has left.
//
// A list that has no room for two more takes none, which is asked once for each two columns, and
// what would have come is lost. With some 37 candidates per row that happens in a few rows of a
// thousand (in more where rows are in a special order, or have ties). Such rows are looked up once
// more, from all of their scores (again.cuh).
#pragma once

#include "kernels/product_key/candidate.cuh"
#include "kernels/product_key/hopper/bars.cuh"
#include "kernels/product_key/hopper/key_stream.cuh"
#include "kernels/product_key/short_key.cuh"

namespace memengine::cuda::product_key::hopper {

constexpr int row_entries = 64;

// Entry e of the row of lanes 4 t .. 4 t + 3 stands at [e][t].
struct WarpLists {
  float score[2][row_entries][8];
  std::uint16_t index[row_entries][8][2];  // of both rows
};
constexpr int entry_bytes = 8 * sizeof(float);  // from one entry to the next, of both arrays
constexpr int row_distance = sizeof(WarpLists::score) / 2;

class Candidates {
 public:
  __device__ Candidates(WarpLists& lists, int lane)
      : lists_(lists),
        lane_(lane),
        row_start_(
            static_cast<std::uint32_t>(__cvta_generic_to_shared(&lists.score[0][0][lane / 4]))) {}

  // Rows that do not exist take no candidates. All lanes of the warp come here.
  __device__ __forceinline__ void start(const Bars& bars, bool first_exists, bool second_exists) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      bar_[row] = (row == 0 ? first_exists : second_exists) ? bars.bar[row] : INFINITY;
      top_[row] = bars.top[row];
      scale_[row] = short_scale(bars.top[row] - bars.bar[row]);
    }
    // Both rows side by side in a register; before: the groups of the row's lanes up to this one.
    const int member = lane_ % 4, mine = bars.groups[0] | bars.groups[1] << 16;
    int before = mine;
#pragma unroll
    for (int distance = 1; distance < 4; distance *= 2) {
      const int other = __shfl_up_sync(all_lanes, before, distance, 4);
      if (member >= distance) before += other;
    }
    const int all = __shfl_sync(all_lanes, before, 3, 4);
    before -= mine;
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      const int groups = bars.groups[row], of_row = all >> row * 16 & 0xffff;
      const bool fits = of_row <= row_entries - 8;
      const int left = row_entries - of_row, first_group = before >> row * 16 & 0xffff;
      const int first = fits ? first_group + left * member / 4 : member * (row_entries / 4);
      const int end =
          fits ? first_group + groups + left * (member + 1) / 4 : (member + 1) * (row_entries / 4);
      first_[row] = next_[row] = address(row, first);
      last_[row] = address(row, end - 1);
    }
  }

  // Scores of keys first_key .. first_key + 127, in ascending order of keys.
  __device__ __forceinline__ void take(const float (&scores)[64], int first_key) {
    const int first_column = first_key + lane_ % 4 * 2;
#pragma unroll
    for (int block = 0; block < 16; ++block) {
      const auto index = static_cast<std::uint16_t>(first_column + block * 8);
      push<0>(scores[block * 4], scores[block * 4 + 1], index);
      push<1>(scores[block * 4 + 2], scores[block * 4 + 3], index);
    }
  }

  // After the last chunk: may candidates of this lane's two rows have been lost? Bit 0 and bit 1,
  // the same in the four lanes of a row. A row of fewer than knn has scores of -infinity, which are
  // above no bar. All lanes of the warp come here.
  __device__ __forceinline__ unsigned lost(int knn) const {
    std::uint32_t found = 0;  // of each row 16 bits: candidates, and full lists from bit 8 on
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      found += count(row) + (next_[row] >= last_[row] ? 0x100U : 0U) << row * 16;
    }
    found += shuffle_xor(found, 1);
    found += shuffle_xor(found, 2);
    const auto whole = [&](std::uint32_t n) {
      return n < 0x100U && n >= static_cast<unsigned>(knn);
    };
    return (whole(found & 0xffffU) ? 0U : 1U) | (whole(found >> 16) ? 0U : 2U);
  }

  // Candidates of row `row` of this lane's two as short keys with their entry, spread over the
  // row's four lanes, 16 each.
  __device__ __forceinline__ void collect(ShortKey (&keys)[16], int row) const {
    const Entries there = entries_of(row);
    const float top = row == 0 ? top_[0] : top_[1], scale = row == 0 ? scale_[0] : scale_[1];
    const float* scores = &lists_.score[row][lane_ % 4][lane_ / 4];
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const auto tag = static_cast<ShortKey>(lane_ % 4 + r * 4);
      const ShortKey key = short_key(top, scores[r * 4 * 8], scale, tag);
      keys[r] = there.has(r) ? key : 0;
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
    const Entries there = entries_of(row);
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const auto tag = static_cast<std::uint32_t>(lane_ % 4 + r * 4);
      keys[r] = there.has(r) ? make_key(score_at(row, tag), index_at(row, tag)) : 0;
    }
  }

 private:
  // Which of the row's entries member, member + 4, ... hold a candidate.
  struct Entries {
    std::uint32_t first_half, second_half;  // from bit 0 on

    __device__ __forceinline__ bool has(int r) const {
      return ((r < 8 ? first_half : second_half) >> r % 8 * 4 & 1) != 0;
    }
  };
  __device__ __forceinline__ Entries entries_of(int row) const {
    const std::uint32_t place =
        ((row == 0 ? first_[0] : first_[1]) - address(row, 0)) / entry_bytes;
    const unsigned long long mine = ((1ULL << (row == 0 ? count(0) : count(1))) - 1) << place;
    auto low = static_cast<std::uint32_t>(mine), high = static_cast<std::uint32_t>(mine >> 32);
    low |= shuffle_xor(low, 1);
    high |= shuffle_xor(high, 1);
    low |= shuffle_xor(low, 2);
    high |= shuffle_xor(high, 2);
    return {low >> lane_ % 4, high >> lane_ % 4};
  }

  // The scores of keys `index` and index + 1. Written out as instructions under a predicate, where
  // the compiler would branch.
  template <int row>
  __device__ __forceinline__ void push(float score, float next_score, std::uint16_t index) {
    constexpr int to_index = row == 0 ? 2 * row_distance : row_distance + sizeof(index);
    static_assert(sizeof(lists_.score[0][0][0]) == sizeof(lists_.index[0][0]));
    asm volatile(
        "{\n.reg .pred p, q;\n"
        "setp.lt.u32 q, %0, %5;\n"
        "setp.gtu.and.f32 p, %1, %3, q;\n"  // greater, or not a number
        "@p st.shared.f32 [%0], %1;\n"
        "@p st.shared.u16 [%0 + %7], %4;\n"
        "@p add.u32 %0, %0, %8;\n"
        "setp.gtu.and.f32 p, %2, %3, q;\n"
        "@p st.shared.f32 [%0], %2;\n"
        "@p st.shared.u16 [%0 + %7], %6;\n"
        "@p add.u32 %0, %0, %8;\n}"
        : "+r"(next_[row])
        : "f"(score), "f"(next_score), "f"(bar_[row]), "h"(index), "r"(last_[row]),
          "h"(static_cast<std::uint16_t>(index + 1)), "n"(to_index), "n"(entry_bytes)
        : "memory");
  }

  __device__ __forceinline__ std::uint32_t count(int row) const {
    return (next_[row] - first_[row]) / entry_bytes;
  }
  __device__ __forceinline__ std::uint32_t address(int row, int entry) const {
    return row_start_ + static_cast<std::uint32_t>(row * row_distance + entry * entry_bytes);
  }

  WarpLists& lists_;
  int lane_;
  float bar_[2], top_[2], scale_[2];
  std::uint32_t row_start_, first_[2], next_[2], last_[2];  // addresses; last_: of the last entry
};

}  // namespace memengine::cuda::product_key::hopper
