// The bar of a row of scores: a number that at least 32 of them exceed, and few more.
//
// Four lanes share a row and each has 32 of a chunk's 128 columns. While the chunks go by, a lane
// keeps the maximum of each of its columns over all chunks, so a row has 128 groups. The 32nd
// largest of these maxima is a score that at least 32 reach; of scores in no special order only
// some 37 do, however many there were.
//
// A lane has two rows. Their maxima lie side by side in one register, cut to BF16, which moves a
// bar by less than 1/128 of itself: one instruction does for both rows what follows, finding the
// 32nd largest by bisection with counts. It starts from the least of 32 maxima of four groups each,
// which 32 groups reach, and from the largest.
#pragma once

#include "kernels/product_key/candidate.cuh"

namespace memengine::cuda::product_key::hopper {

constexpr int most_kept = 32;  // knn is at most this

// BF16 numbers of the first row (low half) and the second.
using Pair = __nv_bfloat162;

__device__ __forceinline__ std::uint32_t bits_of(Pair x) {
  return *reinterpret_cast<const std::uint32_t*>(&x);
}
__device__ __forceinline__ Pair pair_of(std::uint32_t bits) {
  return *reinterpret_cast<const Pair*>(&bits);
}
__device__ __forceinline__ Pair shuffle_pair(Pair x, int lanes) {
  return pair_of(shuffle_xor(bits_of(x), lanes));
}
// Cut, not rounded: towards zero.
__device__ __forceinline__ Pair cut_to_pair(float first, float second) {
  return pair_of(__byte_perm(__float_as_uint(first), __float_as_uint(second), 0x7632));
}

// The largest number below all that were cut to `cut`; -infinity for itself.
__device__ __forceinline__ float below_cut(std::uint32_t cut) {
  if ((cut & 0x7fffffffU) == 0) return __uint_as_float(0x80010000U);
  return __uint_as_float((cut >> 31) != 0 ? min(cut + 0x10000U, 0xff800000U) : cut - 1);
}
// A number that none of those exceeds.
__device__ __forceinline__ float above_cut(std::uint32_t cut) {
  return __uint_as_float((cut >> 31) != 0 ? cut : min(cut + 0x10000U, 0x7f800000U));
}

struct Bars {
  float bar[2], top[2];  // of the first row and the second; no score exceeds top
  int groups[2];         // how many of this lane's maxima exceed the bar
};

class ColumnMaxima {
 public:
  __device__ __forceinline__ void start() {
#pragma unroll
    for (int j = 0; j < 32; ++j) maxima_[j] = pair_of(0xff80ff80U);  // -infinity
  }

  // scores: column block b has two of each row, at 4 b and at 4 b + 2.
  __device__ __forceinline__ void see(const float (&scores)[64]) {
#pragma unroll
    for (int j = 0; j < 32; ++j) {
      const int i = j / 2 * 4 + j % 2;
      maxima_[j] = __hmax2(maxima_[j], cut_to_pair(scores[i], scores[i + 2]));
    }
  }

  // Each bisection halves what is between the bar and the 32nd largest maximum.
  __device__ __forceinline__ Bars bars(int bisections) const {
    Pair low, high;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const Pair of_four =
          __hmax2(__hmax2(maxima_[j], maxima_[j + 8]), __hmax2(maxima_[j + 16], maxima_[j + 24]));
      low = j == 0 ? of_four : __hmin2(low, of_four);
      high = j == 0 ? of_four : __hmax2(high, of_four);
    }
    low = __hmin2(low, shuffle_pair(low, 1));
    low = __hmin2(low, shuffle_pair(low, 2));
    high = __hmax2(high, shuffle_pair(high, 1));
    high = __hmax2(high, shuffle_pair(high, 2));
    Bars bars;
    bars.top[0] = above_cut(bits_of(high) << 16);
    bars.top[1] = above_cut(bits_of(high) & 0xffff0000U);
    const Pair half = pair_of(0x3f003f00U);
    std::uint32_t groups = 0;  // BF16 pairs; 0: not counted
#pragma unroll 1
    for (int step = 0;; ++step) {
      if (step >= bisections) {
        // Where no middle was low enough, the bar is where it was, and its groups are counted now.
        const bool counted = (groups & 0xffffU) != 0 && groups >> 16 != 0;
        if (step > bisections || !__any_sync(all_lanes, !counted)) break;
        high = low;
      }
      const Pair middle = __hfma2(low, half, __hmul2(high, half));
      Pair reach[2] = {pair_of(0), pair_of(0)};  // whole numbers up to 128 are exact
#pragma unroll
      for (int j = 0; j < 32; ++j) {
        reach[j % 2] = __hadd2(reach[j % 2], __hge2(maxima_[j], middle));
      }
      const Pair mine = __hadd2(reach[0], reach[1]);
      Pair total = __hadd2(mine, shuffle_pair(mine, 1));
      total = __hadd2(total, shuffle_pair(total, 2));
      // Ones in the halves where enough reach the middle.
      const std::uint32_t enough = __hge2_mask(total, pair_of(0x42004200U));  // 32
      low = pair_of((bits_of(middle) & enough) | (bits_of(low) & ~enough));
      high = pair_of((bits_of(high) & enough) | (bits_of(middle) & ~enough));
      groups = (bits_of(mine) & enough) | (groups & ~enough);
    }
    bars.bar[0] = below_cut(bits_of(low) << 16);
    bars.bar[1] = below_cut(bits_of(low) & 0xffff0000U);
    bars.groups[0] = static_cast<int>(__uint_as_float(groups << 16));
    bars.groups[1] = static_cast<int>(__uint_as_float(groups & 0xffff0000U));
    return bars;
  }

 private:
  Pair maxima_[32];
};

}  // namespace memengine::cuda::product_key::hopper
