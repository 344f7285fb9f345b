// The best of many scores, kept by one warp in registers.
//
// Lists of 32 R keys (candidate.cuh) are spread over the warp, element r * 32 + lane in register r,
// and sorted by bitonic networks: exchanges between registers are free, exchanges between lanes are
// shuffles.
#pragma once

#include "kernels/product_key/candidate.cuh"

namespace memengine::cuda::product_key {

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
      const Value other = shuffle_xor(x[r], stride);
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
    x[r] = larger(x[r], shuffle_xor(y[R - 1 - r], warp_size - 1));
  }
}

// The 32 R best candidates offered so far. Candidates wait in shared memory until there are 32 R
// of them; then they are sorted and merged into the list.
template <int R, typename AnyKey = Key>
class Best {
 public:
  static constexpr int capacity = R * warp_size;
  static constexpr int buffer_keys = capacity + warp_size;

  // `buffer` [buffer_keys] in shared memory, this warp's own.
  __device__ Best(AnyKey* buffer, int lane) : buffer_(buffer), lane_(lane) {}

  // Starts from a sorted list (0 where there is nothing); keys not above `bar` cannot win.
  __device__ __forceinline__ void start(const AnyKey (&sorted)[R], AnyKey bar) {
#pragma unroll
    for (int r = 0; r < R; ++r) keys[r] = sorted[r];
    bar_ = bar;
    waiting_ = 0;
  }

  // Every lane of the warp calls; those with `given` offer their key.
  __device__ __forceinline__ void offer(bool given, AnyKey key) {
    given = given && less(bar_, key);
    const unsigned givers = __ballot_sync(all_lanes, given);
    if (given) buffer_[waiting_ + __popc(givers & ((1U << lane_) - 1))] = key;
    waiting_ += __popc(givers);
    if (waiting_ < capacity) return;
    merge_waiting();
    waiting_ -= capacity;
    const AnyKey rest = buffer_[capacity + lane_];
    __syncwarp();
    if (lane_ < waiting_) buffer_[lane_] = rest;
  }

  // After the last offer: keys is the final list.
  __device__ __forceinline__ void finish() {
    if (waiting_ > 0) merge_waiting();
    waiting_ = 0;
  }

  AnyKey keys[R];

 private:
  __device__ __forceinline__ void merge_waiting() {
    __syncwarp();
    AnyKey fresh[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int i = r * warp_size + lane_;
      fresh[r] = i < waiting_ ? buffer_[i] : AnyKey{};
    }
    __syncwarp();
    sort_descending(fresh, lane_);
    keep_larger(keys, fresh);
    exchange_down<capacity, capacity / 2>(keys, lane_);
    bar_ = larger(bar_, shuffle(keys[R - 1], warp_size - 1));
  }

  AnyKey* buffer_;
  AnyKey bar_{};
  int waiting_ = 0;
  int lane_;
};

}  // namespace memengine::cuda::product_key
