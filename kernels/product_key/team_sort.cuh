// Sorting networks for small lists held by teams of lanes, several teams per warp at once.
//
// A list of team * R values lies in the registers of `team` neighbouring lanes, element
// member * R + r in register r of a member. Exchanges at distances below R stay within a lane and
// need no shuffle: a quad sorts 32 values (R = 8) with three shuffled stages of fifteen, eight
// lists at a time. Largest first.
#pragma once

#include <type_traits>

#include "kernels/product_key/short_key.cuh"

namespace memengine::cuda::product_key {

// One stage: elements `stride` apart are put in order, descending where (element & size) == 0.
template <int team, int size, int stride, int R, typename Value>
__device__ __forceinline__ void exchange_in_team(Value (&x)[R], int member) {
  constexpr bool last = size == team * R;  // one descending list
  if constexpr (stride < R) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if ((r & stride) != 0) continue;
      const bool ascending = !last && (((size < R ? r : member * R) & size) != 0);
      const Value a = x[r], b = x[r + stride];
      if constexpr (std::is_same_v<Value, ShortKey>) {
        // One instruction each where the direction is known: see sort_in_team_up_to().
        x[r] = ascending ? min(a, b) : max(a, b);
        x[r + stride] = ascending ? max(a, b) : min(a, b);
      } else {
        const bool swap = less(a, b) != ascending;
        x[r] = swap ? b : a;
        x[r + stride] = swap ? a : b;
      }
    }
  } else {
    constexpr int distance = stride / R;
    const bool descending = last || ((member * R) & size) == 0;
    const bool keeps_larger = ((member & distance) == 0) == descending;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const Value other = shuffle_xor(x[r], distance);
      x[r] = less(x[r], other) == keeps_larger ? other : x[r];
    }
  }
}

// Bitonic sequences of length `size`, of whole members, all descending.
template <int team, int size, int stride, int R>
__device__ __forceinline__ void merge_members_down(ShortKey (&x)[R], int member) {
  if constexpr (stride < R) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if ((r & stride) != 0) continue;
      const ShortKey a = x[r], b = x[r + stride];
      x[r] = max(a, b);
      x[r + stride] = min(a, b);
    }
  } else {
    const bool keeps_larger = (member & (stride / R)) == 0;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const ShortKey other = shuffle_xor(x[r], stride / R);
      x[r] = less(x[r], other) == keeps_larger ? other : x[r];
    }
  }
  if constexpr (stride > 1) merge_members_down<team, size, stride / 2>(x, member);
}

// Sorts bitonic sequences of length `size`.
template <int team, int size, int stride, int R, typename Value>
__device__ __forceinline__ void merge_in_team(Value (&x)[R], int member) {
  exchange_in_team<team, size, stride>(x, member);
  if constexpr (stride > 1) merge_in_team<team, size, stride / 2>(x, member);
}
template <int team, int R, typename Value>
__device__ __forceinline__ void merge_in_team(Value (&x)[R], int member) {
  merge_in_team<team, team * R, team * R / 2>(x, member);
}

template <int team, int size, int R, typename Value>
__device__ __forceinline__ void sort_in_team_up_to(Value (&x)[R], int member) {
  if constexpr (size > 2) sort_in_team_up_to<team, size / 2>(x, member);
  if constexpr (std::is_same_v<Value, ShortKey> && size >= R && size < team * R) {
    // Some members sort up, some down: the former sort complements down.
    const ShortKey flip = ((member * R) & size) != 0 ? ~0U : 0U;
#pragma unroll
    for (int r = 0; r < R; ++r) x[r] ^= flip;
    merge_members_down<team, size, size / 2>(x, member);
#pragma unroll
    for (int r = 0; r < R; ++r) x[r] ^= flip;
  } else {
    merge_in_team<team, size, size / 2>(x, member);
  }
}
template <int team, int R, typename Value>
__device__ __forceinline__ void sort_in_team(Value (&x)[R], int member) {
  sort_in_team_up_to<team, team * R>(x, member);
}

// x = the better half of two sorted lists, sorted. `left_out` becomes the largest score among the
// other half and its value before.
template <int team, int R, typename Value>
__device__ __forceinline__ void keep_better(Value (&x)[R], const Value (&y)[R],
                                            std::uint32_t& left_out, int member) {
#pragma unroll
  for (int r = 0; r < R; ++r) {
    const Value other = shuffle_xor(y[R - 1 - r], team - 1);
    const bool swap = less(x[r], other);
    left_out = max(left_out, score_bits(swap ? x[r] : other));
    x[r] = swap ? other : x[r];
  }
  merge_in_team<team>(x, member);
}

}  // namespace memengine::cuda::product_key
