// BF16 on the host: the upper half of a float, and the exact split of a float in two halves.
//
// split_float cuts a float into `hi`, the nearest BF16, and `lo`, the 16 bits that are missing to
// the exact value (split-BF16, Kalamkar et al. 2019). Read as integers, bits = (hi << 16) + lo with
// a signed lo, so that `hi` alone is the float rounded to nearest (ties away from zero) and
// hi + lo loses nothing.
#pragma once

#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define MEMENGINE_HOST_DEVICE __host__ __device__
#else
#define MEMENGINE_HOST_DEVICE
#endif

namespace memengine {

// Same layout as CUDA's __nv_bfloat16; arithmetic is done in float.
struct bfloat16 {
  std::uint16_t bits = 0;
};

MEMENGINE_HOST_DEVICE inline float to_float(bfloat16 x) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16);
}

// Round to nearest, ties to even: the rounding of CUDA's __float2bfloat16. NaN stays NaN.
MEMENGINE_HOST_DEVICE inline bfloat16 to_bfloat16(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return {static_cast<std::uint16_t>(bits >> 16 | 64U)};
  return {static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16 & 1U)) >> 16)};
}

struct SplitFloat {
  std::uint16_t hi;
  std::uint16_t lo;
};

MEMENGINE_HOST_DEVICE inline SplitFloat split_float(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t hi = (bits + 0x8000U) >> 16;
  return {static_cast<std::uint16_t>(hi), static_cast<std::uint16_t>(bits - (hi << 16))};
}

MEMENGINE_HOST_DEVICE inline float join_float(std::uint16_t hi, std::uint16_t lo) {
  const std::uint32_t low = static_cast<std::uint32_t>(static_cast<std::int16_t>(lo));
  return std::bit_cast<float>((static_cast<std::uint32_t>(hi) << 16) + low);
}

}  // namespace memengine
