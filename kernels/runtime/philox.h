// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy
// as 1, 2, 3", SC 2011).
//
// A random number is a pure function of (seed, stream, element), so any thread on any device can
// compute any element of any tensor, in any order, and all agree. The normal deviates agree to the
// last bit between CPU and GPU too: Box-Muller is built here from explicit fused multiply-adds and
// correctly rounded square roots and divisions only, never from a library's log, sin or cos.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "kernels/runtime/bfloat16.h"

namespace memengine {

struct Philox4 {
  std::uint32_t word[4];
};

// Block `counter` of stream `stream` under `seed`: four independent 32-bit words.
MEMENGINE_HOST_DEVICE inline Philox4 philox(std::uint64_t seed, std::uint64_t stream,
                                            std::uint64_t counter) {
  std::uint32_t c0 = static_cast<std::uint32_t>(counter);
  std::uint32_t c1 = static_cast<std::uint32_t>(counter >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(stream);
  std::uint32_t c3 = static_cast<std::uint32_t>(stream >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed);
  std::uint32_t k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * c0;
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * c2;
    const std::uint32_t next0 = static_cast<std::uint32_t>(product1 >> 32) ^ c1 ^ k0;
    const std::uint32_t next2 = static_cast<std::uint32_t>(product0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(product1);
    c3 = static_cast<std::uint32_t>(product0);
    c0 = next0;
    c2 = next2;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

// The stream of a named tensor: FNV-1a of its name, so that a tensor's numbers do not depend on
// which other tensors a model has.
inline std::uint64_t random_stream(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  return hash;
}

// Uniform in (0, 1], 24 bits; never 0, whose logarithm Box-Muller could not take.
MEMENGINE_HOST_DEVICE inline float uniform_from_bits(std::uint32_t bits) {
  return fmaf(static_cast<float>(bits >> 8), 0x1p-24F, 0x1p-25F);
}

// Natural logarithm of x in (0, 1], relative error below 3e-7, the same bits on every device.
MEMENGINE_HOST_DEVICE inline float portable_log(float x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh(s), s = (m - 1) / (m + 1).
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t shifted = bits - 0x3f3504f3U;
  const int exponent = static_cast<std::int32_t>(shifted) >> 23;
  const float m = std::bit_cast<float>((shifted & 0x007fffffU) + 0x3f3504f3U);
  const float s = (m - 1.0F) / (m + 1.0F);
  const float z = s * s;
  float series = fmaf(z, 2.0F / 9, 2.0F / 7);
  series = fmaf(z, series, 2.0F / 5);
  series = fmaf(z, series, 2.0F / 3);
  series = fmaf(z, series, 2.0F);
  return fmaf(static_cast<float>(exponent), 0.693147182F, s * series);
}

// Cosine and sine of 2 pi x for x in [0, 1), the same bits on every device.
MEMENGINE_HOST_DEVICE inline void portable_cos_sin(float x, float* cosine, float* sine) {
  // Fold to the nearest quarter turn: x = q/4 + r, |r| <= 1/8; Taylor series of both in 2 pi r.
  const int quarter = static_cast<int>(fmaf(x, 4.0F, 0.5F));
  const float r = fmaf(static_cast<float>(quarter), -0.25F, x) * 6.28318531F;
  const float z = r * r;
  float c = fmaf(z, 2.48015873e-5F, -1.38888889e-3F);
  c = fmaf(z, c, 4.16666667e-2F);
  c = fmaf(z, c, -0.5F);
  c = fmaf(z, c, 1.0F);
  float s = fmaf(z, 2.75573192e-6F, -1.98412698e-4F);
  s = fmaf(z, s, 8.33333333e-3F);
  s = fmaf(z, s, -1.66666667e-1F);
  s = fmaf(z * r, s, r);
  switch (quarter & 3) {
    case 0:
      *cosine = c;
      *sine = s;
      break;
    case 1:
      *cosine = -s;
      *sine = c;
      break;
    case 2:
      *cosine = -c;
      *sine = -s;
      break;
    default:
      *cosine = s;
      *sine = -c;
      break;
  }
}

// Four standard normal deviates, elements 4*counter .. 4*counter+3 of the stream (Box-Muller).
MEMENGINE_HOST_DEVICE inline void philox_normal4(std::uint64_t seed, std::uint64_t stream,
                                                 std::uint64_t counter, float normal[4]) {
  const Philox4 random = philox(seed, stream, counter);
  for (int pair = 0; pair < 2; ++pair) {
    const float u = uniform_from_bits(random.word[2 * pair]);
    const float angle = static_cast<float>(random.word[2 * pair + 1] >> 8) * 0x1p-24F;
    const float radius = sqrtf(-2.0F * portable_log(u));
    float cosine = 0;
    float sine = 0;
    portable_cos_sin(angle, &cosine, &sine);
    normal[2 * pair] = radius * cosine;
    normal[2 * pair + 1] = radius * sine;
  }
}

}  // namespace memengine
