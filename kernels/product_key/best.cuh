// The best of many scores, kept by one warp in registers.
//
// A scored candidate is one 64-bit key: the score, as an integer that orders like the number, above
// the complement of its index. The larger key is then the better candidate, and of equal scores the
// lower index wins, with one comparison. Lists of 32 R keys are spread over the warp, element
// r * 32 + lane in register r, and sorted by bitonic networks: exchanges between registers are
// free, exchanges between lanes are shuffles.
#pragma once

#include <cmath>

#include "kernels/device_math.cuh"

namespace memengine::cuda::product_key {

using Key = unsigned long long;

inline constexpr unsigned all_lanes = 0xffffffffU;

// NaN counts as the best score, so that it is picked and shows in the weights; both zeros are the
// same.
__device__ __forceinline__ std::uint32_t ordered(float score) {
  const std::uint32_t bits = __float_as_uint(score == score ? score + 0.0F : INFINITY);
  return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000U);
}

__device__ __forceinline__ Key make_key(float score, std::uint32_t index) {
  return static_cast<Key>(ordered(score)) << 32 | ~index;
}

__device__ __forceinline__ float score_of(Key key) {
  const auto bits = static_cast<std::uint32_t>(key >> 32);
  return __uint_as_float((bits & 0x80000000U) != 0 ? bits ^ 0x80000000U : ~bits);
}

__device__ __forceinline__ std::uint32_t index_of(Key key) {
  return ~static_cast<std::uint32_t>(key);
}

__device__ __forceinline__ float larger(float a, float b) {
  return fmaxf(a, b);
}
__device__ __forceinline__ float smaller(float a, float b) {
  return fminf(a, b);
}
__device__ __forceinline__ Key larger(Key a, Key b) {
  return a > b ? a : b;
}
__device__ __forceinline__ Key smaller(Key a, Key b) {
  return a > b ? b : a;
}

// One stage: elements `stride` apart are put in order, descending where (i & size) == 0.
template <int size, int stride, int R, typename Value>
__device__ __forceinline__ void exchange(Value (&x)[R], int lane) {
  if constexpr (stride >= warp_size) {
    constexpr int step = stride / warp_size;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if ((r & step) != 0) continue;
      const Value high = larger(x[r], x[r + step]);
      const Value low = smaller(x[r], x[r + step]);
      const bool descending = ((r * warp_size) & size) == 0;
      x[r] = descending ? high : low;
      x[r + step] = descending ? low : high;
    }
  } else {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const Value other = __shfl_xor_sync(all_lanes, x[r], stride);
      const bool descending = ((r * warp_size + lane) & size) == 0;
      const bool first = (lane & stride) == 0;
      x[r] = descending == first ? larger(x[r], other) : smaller(x[r], other);
    }
  }
}

// Sorts a bitonic sequence of length `size` (each of them, if there are several).
template <int size, int stride, int R, typename Value>
__device__ __forceinline__ void exchange_down(Value (&x)[R], int lane) {
  exchange<size, stride>(x, lane);
  if constexpr (stride > 1) exchange_down<size, stride / 2>(x, lane);
}

template <int size, int R, typename Value>
__device__ __forceinline__ void sort_up_to(Value (&x)[R], int lane) {
  if constexpr (size > 2) sort_up_to<size / 2>(x, lane);
  exchange_down<size, size / 2>(x, lane);
}

// Sorts all 32 R elements, largest first.
template <int R, typename Value>
__device__ __forceinline__ void sort_descending(Value (&x)[R], int lane) {
  sort_up_to<R * warp_size>(x, lane);
}

// The better half of two sorted lists, not yet in order: x[i] = max(x[i], y[last - i]).
template <int R, typename Value>
__device__ __forceinline__ void keep_larger(Value (&x)[R], const Value (&y)[R]) {
#pragma unroll
  for (int r = 0; r < R; ++r) {
    x[r] = larger(x[r], __shfl_xor_sync(all_lanes, y[R - 1 - r], warp_size - 1));
  }
}

// The 32 R best candidates offered so far. Candidates wait in shared memory until there are 32 R
// of them; then they are sorted and merged into the list.
template <int R>
class Best {
 public:
  static constexpr int capacity = R * warp_size;
  static constexpr int buffer_keys = capacity + warp_size;

  // `buffer` [buffer_keys] in shared memory, this warp's own.
  __device__ Best(Key* buffer, int lane) : buffer_(buffer), lane_(lane) {}

  // Starts from a sorted list (0 where there is nothing); keys not above `bar` cannot win.
  __device__ __forceinline__ void start(const Key (&sorted)[R], Key bar) {
#pragma unroll
    for (int r = 0; r < R; ++r) keys[r] = sorted[r];
    bar_ = bar;
    waiting_ = 0;
  }

  // Every lane of the warp calls; those with `given` offer their key.
  __device__ __forceinline__ void offer(bool given, Key key) {
    given = given && key > bar_;
    const unsigned givers = __ballot_sync(all_lanes, given);
    if (given) buffer_[waiting_ + __popc(givers & ((1U << lane_) - 1))] = key;
    waiting_ += __popc(givers);
    if (waiting_ < capacity) return;
    merge_waiting();
    waiting_ -= capacity;
    const Key rest = buffer_[capacity + lane_];
    __syncwarp();
    if (lane_ < waiting_) buffer_[lane_] = rest;
  }

  // After the last offer: keys is the final list.
  __device__ __forceinline__ void finish() {
    if (waiting_ > 0) merge_waiting();
    waiting_ = 0;
  }

  Key keys[R];

 private:
  __device__ __forceinline__ void merge_waiting() {
    __syncwarp();
    Key fresh[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int i = r * warp_size + lane_;
      fresh[r] = i < waiting_ ? buffer_[i] : 0;
    }
    __syncwarp();
    sort_descending(fresh, lane_);
    keep_larger(keys, fresh);
    exchange_down<capacity, capacity / 2>(keys, lane_);
    bar_ = larger(bar_, __shfl_sync(all_lanes, keys[R - 1], warp_size - 1));
  }

  Key* buffer_;
  Key bar_ = 0;
  int waiting_ = 0;
  int lane_;
};

}  // namespace memengine::cuda::product_key
