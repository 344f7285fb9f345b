// The two inner loops of every sparse op on the CPU, over the elements of one row. Both vectorise.
// And how many elements make a loop worth several threads.
#pragma once

#include <cstdint>

namespace memengine {

// A loop over fewer elements is done before other threads have begun theirs.
inline constexpr std::int64_t worth_sharing = 8 * 1024;

// out += factor * x
template <typename T>
inline void add_scaled(T* out, T factor, const T* x, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) out[i] += factor * x[i];
}

// <x, y>
template <typename T>
inline T dot(const T* x, const T* y, std::int64_t count) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (std::int64_t i = 0; i < count; ++i) sum += x[i] * y[i];
  return sum;
}

}  // namespace memengine
