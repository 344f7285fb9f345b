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
// A list that has no room for two more takes none, which is asked once for each two columns. After
// each chunk, while its scores are still there, such lists get entries that others of the row have
// left over, and the rest of their candidates: it happens in one warp of ten. Where a row has no
// room left, candidates are lost, and the row is looked up once more, from all of its scores
// (again.cuh). Scores in a special order, or ties, come to that, random ones as good as never.
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
  // What is not needed while candidates are pushed, which the caller has in memory: registers are
  // for what is.
  struct Cold {
    float top[2], scale[2];
    std::uint32_t first[2];  // the address where the last segment begins
    std::uint32_t low[2],
        high[2];    // entries of closed segments; after finish(), all of the row's
    unsigned lost;  // of this lane's rows
  };

  __device__ Candidates(WarpLists& lists, volatile Cold& cold, int lane)
      : lists_(lists),
        cold_(cold),
        lane_(lane),
        row_start_(
            static_cast<std::uint32_t>(__cvta_generic_to_shared(&lists.score[0][0][lane / 4]))) {}

  // Rows that do not exist take no candidates. All lanes of the warp come here.
  __device__ __forceinline__ void start(const Bars& bars, bool first_exists, bool second_exists) {
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      bar_[row] = (row == 0 ? first_exists : second_exists) ? bars.bar[row] : INFINITY;
      cold_.top[row] = bars.top[row];
      cold_.scale[row] = short_scale(bars.top[row] - bars.bar[row]);
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
      open_segment(row, first, end);
      cold_.low[row] = 0;
      cold_.high[row] = 0;
    }
    cold_.lost = 0;
  }

  // Scores of keys first_key .. first_key + 127, in ascending order of keys; they are used up. All
  // lanes of the warp come here.
  __device__ __forceinline__ void take(const float (&scores)[64], int first_key) {
    const int first_column = first_key + lane_ % 4 * 2;
#pragma unroll
    for (int block = 0; block < 16; ++block) {
      const auto index = static_cast<std::uint16_t>(first_column + block * 8);
      push<0>(scores[block * 4], scores[block * 4 + 1], index);
      push<1>(scores[block * 4 + 2], scores[block * 4 + 3], index);
    }
    const bool short_of_room = !has_room(0) || !has_room(1);
    if (__any_sync(all_lanes, short_of_room)) [[unlikely]] {
      push_rest<0>(scores, first_column);
      push_rest<1>(scores, first_column);
    }
  }

  // After the last chunk. May candidates of this lane's two rows have been lost? Bit 0 and bit 1,
  // the same in the four lanes of a row. A row of fewer than knn has scores of -infinity, which are
  // above no bar. All lanes of the warp come here.
  __device__ __forceinline__ unsigned finish(int knn) {
    unsigned lost = cold_.lost;
    lost |= shuffle_xor(lost, 1);
    lost |= shuffle_xor(lost, 2);
#pragma unroll
    for (int row = 0; row < 2; ++row) {
      close_segment(row);
      std::uint32_t low = cold_.low[row], high = cold_.high[row];
#pragma unroll
      for (int lanes = 1; lanes < 4; lanes *= 2) {
        low |= shuffle_xor(low, lanes);
        high |= shuffle_xor(high, lanes);
      }
      if (__popc(low) + __popc(high) < knn) lost |= 1U << row;
      cold_.low[row] = low;
      cold_.high[row] = high;
    }
    return lost;
  }

  // Candidates of row `row` of this lane's two as short keys with their entry, spread over the
  // row's four lanes, 16 each.
  __device__ __forceinline__ void collect(ShortKey (&keys)[16], int row) const {
    const Entries there = filled(row);
    const float top = cold_.top[row], scale = cold_.scale[row];
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
    const Entries there = filled(row);
#pragma unroll
    for (int r = 0; r < 16; ++r) {
      const auto tag = static_cast<std::uint32_t>(lane_ % 4 + r * 4);
      keys[r] = there.has(r) ? make_key(score_at(row, tag), index_at(row, tag)) : 0;
    }
  }

 private:
  // Entries of a row as bits.
  struct Entries {
    std::uint32_t low, high;

    __device__ __forceinline__ bool has(int r) const {
      return ((r < 8 ? low : high) >> r % 8 * 4 & 1) != 0;
    }
  };
  // Which of the row's entries member, member + 4, ... hold a candidate.
  __device__ __forceinline__ Entries filled(int row) const {
    return {cold_.low[row] >> lane_ % 4, cold_.high[row] >> lane_ % 4};
  }

  // A list is made of segments, of which only the last one grows.
  __device__ __forceinline__ void open_segment(int row, int first, int end) {
    next_[row] = address(row, first);
    cold_.first[row] = next_[row];
    last_[row] = address(row, end - 1);
  }
  __device__ __forceinline__ void close_segment(int row) {
    const std::uint32_t first = cold_.first[row];
    const std::uint32_t place = (first - address(row, 0)) / entry_bytes;
    const std::uint32_t count = (next_[row] - first) / entry_bytes;
    const unsigned long long mine = ((1ULL << count) - 1) << place;
    cold_.low[row] = cold_.low[row] | static_cast<std::uint32_t>(mine);
    cold_.high[row] = cold_.high[row] | static_cast<std::uint32_t>(mine >> 32);
  }
  // For two more.
  __device__ __forceinline__ bool has_room(int row) const {
    return next_[row] < last_[row];
  }
  __device__ __forceinline__ int room(int row) const {
    return static_cast<int>(last_[row] + entry_bytes - next_[row]) / entry_bytes;
  }

  // What take() left out of a chunk: entries of lists that have some left over go to those that
  // need them, half of what the fullest of the row's lists does not use at a time.
  template <int row>
  __device__ __forceinline__ void push_rest(const float (&scores)[64], int first_column) {
#pragma unroll 1
    while (true) {
      // A list's candidates come in ascending order: the last one tells what is left.
      const int pushed = next_[row] != cold_.first[row] ? index_before(row) : -1;
      bool left_out = false;
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const bool later = first_column + i / 2 * 8 + i % 2 > pushed;
        left_out = left_out || (later && !(scores[i / 2 * 4 + row * 2 + i % 2] <= bar_[row]));
      }
      const bool needs = !has_room(row) && left_out;
      // The first of the row's lanes that need room, and the one with most of it.
      const unsigned of_row = __ballot_sync(all_lanes, needs) >> (lane_ & ~3) & 0xfU;
      const bool first_to_need = needs && (of_row & ((1U << lane_ % 4) - 1)) == 0;
      const int mine = room(row) * 4 + lane_ % 4;
      int most = max(mine, shuffle_xor(mine, 1));
      most = max(most, shuffle_xor(most, 2));
      const int given = most / 4 < 4 ? most / 4 : most / 8;
      const std::uint32_t end = __shfl_sync(all_lanes, last_[row], most % 4, 4) + entry_bytes;
      const bool served = first_to_need && given > 1;
      if (served) {
        close_segment(row);
        next_[row] = end - static_cast<std::uint32_t>(given * entry_bytes);
        cold_.first[row] = next_[row];
        last_[row] = end - entry_bytes;
      } else if (of_row != 0 && given > 1 && most % 4 == lane_ % 4) {
        last_[row] -= static_cast<std::uint32_t>(given * entry_bytes);
      }
      if (of_row != 0 && given < 2) cold_.lost = cold_.lost | 1U << row;
      if (!__any_sync(all_lanes, served)) return;
      const int from = served ? pushed : 0x7fffffff;
#pragma unroll
      for (int i = 0; i < 32; ++i) {
        const int key = first_column + i / 2 * 8 + i % 2;
        const float score = scores[i / 2 * 4 + row * 2 + i % 2];
        if (key > from && next_[row] <= last_[row] && !(score <= bar_[row])) keep<row>(score, key);
      }
    }
  }
  template <int row>
  __device__ __forceinline__ void keep(float score, int key) {
    const std::uint32_t place = (next_[row] - address(row, 0)) / entry_bytes;
    lists_.score[row][place][lane_ / 4] = score;
    lists_.index[place][lane_ / 4][row] = static_cast<std::uint16_t>(key);
    next_[row] += entry_bytes;
  }
  // The index of the list's newest candidate.
  __device__ __forceinline__ int index_before(int row) const {
    const std::uint32_t place = (next_[row] - address(row, 0)) / entry_bytes - 1;
    return lists_.index[place][lane_ / 4][row];
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

  __device__ __forceinline__ std::uint32_t address(int row, int entry) const {
    return row_start_ + static_cast<std::uint32_t>(row * row_distance + entry * entry_bytes);
  }

  WarpLists& lists_;
  volatile Cold& cold_;
  int lane_;
  float bar_[2];
  std::uint32_t row_start_, next_[2],
      last_[2];  // addresses; last_: of the last entry
};

}  // namespace memengine::cuda::product_key::hopper
