// Matrix products on the CPU: C = alpha op(A) op(B) + beta C, row-major, through CBLAS.
//
// The library is held to one thread and OpenMP divides the work: two thread pools (the library's
// and OpenMP's) would wait for each other by spinning on the same cores. (The program sees to it
// that the library does not even start any: cli/blas_threads.cpp.)
#pragma once

#include <cblas.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace memengine {

enum class Transpose : std::uint8_t { no, yes };

// On the calling thread only. op(A) [m, k], op(B) [k, n], C [m, n]; `*_stride` is the distance
// between rows as stored.
template <typename T>
void gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
          std::int64_t k, T alpha, const T* a, std::int64_t a_stride, const T* b,
          std::int64_t b_stride, T beta, T* c, std::int64_t c_stride) {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>);
  [[maybe_unused]] static const bool one_thread = (openblas_set_num_threads(1), true);
  const auto product = [] {
    if constexpr (std::is_same_v<T, float>)
      return cblas_sgemm;
    else
      return cblas_dgemm;
  }();
  product(CblasRowMajor, transpose_a == Transpose::yes ? CblasTrans : CblasNoTrans,
          transpose_b == Transpose::yes ? CblasTrans : CblasNoTrans, static_cast<int>(m),
          static_cast<int>(n), static_cast<int>(k), alpha, a, static_cast<int>(a_stride), b,
          static_cast<int>(b_stride), beta, c, static_cast<int>(c_stride));
}

// This thread's share [first, last) of `count` items, in multiples of `granule`.
struct ThreadShare {
  std::int64_t first, last;
};
inline ThreadShare thread_share(std::int64_t count, std::int64_t granule) {
  const std::int64_t threads = omp_get_num_threads();
  const std::int64_t thread = omp_get_thread_num();
  const std::int64_t granules = (count + granule - 1) / granule;
  return {std::min(count, granules * thread / threads * granule),
          std::min(count, granules * (thread + 1) / threads * granule)};
}

// All threads: each computes its share of the rows of C, or of its columns when C is wider than
// high. Deterministic for a given number of threads.
template <typename T>
void parallel_gemm(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
                   std::int64_t k, T alpha, const T* a, std::int64_t a_stride, const T* b,
                   std::int64_t b_stride, T beta, T* c, std::int64_t c_stride) {
  constexpr std::int64_t granule = 16;
#pragma omp parallel
  {
    const ThreadShare part = thread_share(std::max(m, n), granule);
    const std::int64_t count = part.last - part.first;
    if (count > 0 && m >= n) {
      const T* a_part = a + part.first * (transpose_a == Transpose::yes ? 1 : a_stride);
      gemm(transpose_a, transpose_b, count, n, k, alpha, a_part, a_stride, b, b_stride, beta,
           c + part.first * c_stride, c_stride);
    } else if (count > 0) {
      const T* b_part = b + part.first * (transpose_b == Transpose::yes ? b_stride : 1);
      gemm(transpose_a, transpose_b, m, count, k, alpha, a, a_stride, b_part, b_stride, beta,
           c + part.first, c_stride);
    }
  }
}

}  // namespace memengine
