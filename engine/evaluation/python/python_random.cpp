// MT19937 and random.sample as CPython computes them.
#include "engine/evaluation/python/python_random.h"

#include <bit>
#include <numeric>
#include <unordered_set>

#include "kernels/runtime/error.h"

namespace memengine {

PythonRandom::PythonRandom(std::uint64_t seed) {
  // init_genrand(19650218), then the key's 32-bit digits (least significant first) stirred in.
  state_[0] = 19650218U;
  for (int i = 1; i < words; ++i) {
    state_[i] =
        1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<std::uint32_t>(i);
  }
  const std::uint32_t key[2] = {static_cast<std::uint32_t>(seed),
                                static_cast<std::uint32_t>(seed >> 32)};
  const std::uint32_t key_length = key[1] != 0 ? 2 : 1;
  int i = 1;
  std::uint32_t j = 0;
  const auto advance = [&] {
    if (++i == words) {
      state_[0] = state_[words - 1];
      i = 1;
    }
  };
  for (int step = 0; step < words; ++step) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525U)) + key[j] + j;
    advance();
    if (++j == key_length) j = 0;
  }
  for (int step = 0; step < words - 1; ++step) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941U)) -
                static_cast<std::uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000U;
}

std::uint32_t PythonRandom::next32() {
  if (position_ == words) {
    constexpr int middle = 397;
    for (int k = 0; k < words; ++k) {
      const std::uint32_t y = (state_[k] & 0x80000000U) | (state_[(k + 1) % words] & 0x7fffffffU);
      state_[k] = state_[(k + middle) % words] ^ (y >> 1) ^ ((y & 1U) != 0 ? 0x9908b0dfU : 0U);
    }
    position_ = 0;
  }
  std::uint32_t y = state_[position_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680U;
  y ^= (y << 15) & 0xefc60000U;
  return y ^ (y >> 18);
}

std::uint32_t PythonRandom::getrandbits(int bits) {
  return bits == 0 ? 0 : next32() >> (32 - bits);
}

std::uint32_t PythonRandom::randbelow(std::uint32_t n) {
  const int bits = std::bit_width(n);
  std::uint32_t value = getrandbits(bits);
  while (value >= n) value = getrandbits(bits);
  return value;
}

double PythonRandom::real() {
  const std::uint32_t high = next32() >> 5, low = next32() >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

std::vector<std::uint32_t> PythonRandom::sample(std::uint32_t size, std::uint32_t count) {
  if (count > size) fail_internal("cannot draw {} of {} elements", count, size);
  // Python copies the population when that is smaller than the set of picks would be: a set of
  // `count` takes about 21 words, or 4^ceil(log4(3 count)) more for count > 5.
  std::uint64_t set_size = 21;
  if (count > 5) {
    std::uint64_t table = 1;
    while (table < std::uint64_t{3} * count) table *= 4;
    set_size += table;
  }
  std::vector<std::uint32_t> result(count);
  if (size <= set_size) {
    std::vector<std::uint32_t> pool(size);
    std::iota(pool.begin(), pool.end(), 0U);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t j = randbelow(size - i);
      result[i] = pool[j];
      pool[j] = pool[size - i - 1];
    }
  } else {
    std::unordered_set<std::uint32_t> picked;
    for (std::uint32_t& pick : result) {
      do {
        pick = randbelow(size);
      } while (!picked.insert(pick).second);
    }
  }
  return result;
}

}  // namespace memengine
