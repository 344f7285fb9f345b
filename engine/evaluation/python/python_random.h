// Python's random.Random, exactly: few-shot examples must be the ones the evaluation harness draws.
//
// The Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), seeded as CPython seeds it with a
// non-negative integer (init_by_array over its 32-bit digits), and random.sample's two strategies.
// std::mt19937 has the same recurrence but not this seeding.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace memengine {

class PythonRandom {
 public:
  explicit PythonRandom(std::uint64_t seed);  // random.Random(seed)

  std::uint32_t next32();                    // getrandbits(32)
  std::uint32_t getrandbits(int bits);       // 0 <= bits <= 32
  std::uint32_t randbelow(std::uint32_t n);  // uniform in [0, n), n >= 1, by rejection

  double real();  // random(): 53 bits, uniform in [0, 1)

  // Positions drawn by random.sample(population, count) for a population of `size` elements, in
  // order. count must not exceed size (internal error: Python raises ValueError).
  std::vector<std::uint32_t> sample(std::uint32_t size, std::uint32_t count);

 private:
  static constexpr int words = 624;
  std::array<std::uint32_t, words> state_;
  int position_ = words;
};

}  // namespace memengine
