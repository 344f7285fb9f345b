// Stochastic rounding of Adam's moments to BF16.
//
// BF16 keeps 8 significant bits, so rounding to nearest would swallow every change of a moment that
// is smaller than 0.4% of it. Adding 16 random bits below the cut before cutting rounds up with
// exactly the probability that makes the expected value right. The bits come from (seed, row,
// update, column), so the same update gives the same moments on every device.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/runtime/bfloat16.h"
#include "kernels/runtime/philox.h"

namespace memengine {

// The random words of columns 4 * quad .. 4 * quad + 3 of a row at update `step`: column
// 4 * quad + c rounds its first moment with the lower and its second with the upper 16 bits of
// word[c].
MEMENGINE_HOST_DEVICE inline Philox4 rounding_bits(std::uint64_t seed, std::int64_t row,
                                                   std::uint32_t step, std::uint32_t quad) {
  return philox(seed, static_cast<std::uint64_t>(row), std::uint64_t{step} << 32 | quad);
}

// x cut to BF16 after adding the 16 random bits below the cut; infinities and NaN stay themselves.
MEMENGINE_HOST_DEVICE inline bfloat16 round_stochastically(float x, std::uint32_t random16) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7f800000U) == 0x7f800000U) return to_bfloat16(x);
  return {static_cast<std::uint16_t>((bits + random16) >> 16)};
}

}  // namespace memengine
