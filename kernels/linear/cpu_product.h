// Products of many rows on the CPU, C = op(A) op(B) or added to C, without packing the operands.
//
// A general library copies both operands into an order of its own first. That pays for large square
// matrices; here one side is 64 to 512 long, and the copies take a tenth of the time. A tile of six
// rows by four vectors of C stays in registers while k runs: B's vectors are loaded from where B
// lies, and each is multiplied by one number of A per row. Only where B is transposed, and for the
// last columns where they fill no tile, a panel of it is copied. k is cut into blocks, so that what
// a tile reads of B stays in the cache; each block's sums start at zero and are added to C. An
// element's additions are therefore the same whatever the number of threads and whatever is
// computed beside it.
//
// With AVX-512's 32 registers this is faster than OpenBLAS (tests/CPU.md); with 16 registers a tile
// is too small, and the library does the work.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/cpu/rows.h"
#include "kernels/cpu/vector.h"
#include "kernels/linear/cpu_gemm.h"

namespace memengine {

namespace many_rows {

inline constexpr int tile_rows = 6;
inline constexpr int tile_vectors = many_vector_registers ? 4 : 2;
inline constexpr std::int64_t block_k = 512, block_rows = 16 * tile_rows;

template <typename T>
inline constexpr std::int64_t tile_columns = tile_vectors* Vector<T>::lanes;

// op(A) [m, k]: element (i, l) at data[i * row + l * column].
template <typename T>
struct Left {
  const T* data;
  std::int64_t row, column;
};

// c [rows, vectors * lanes] = a [rows, k] b [k, vectors * lanes], or added to c. `ahead`: asks for
// the cache line of A beside the one in use, where k runs across A's rows.
template <int rows, int vectors, bool ahead, typename T>
inline void tile(T* c, std::int64_t c_stride, Left<T> a, const T* b, std::int64_t b_stride,
                 std::int64_t k, bool add) {
  using V = typename Vector<T>::Type;
  constexpr int lanes = Vector<T>::lanes;
  V sums[rows][vectors] = {};
  for (std::int64_t l = 0; l < k; ++l) {
    const T* a_l = a.data + l * a.column;
    if constexpr (ahead) __builtin_prefetch(a_l + 64 / sizeof(T));
    V b_l[vectors];
    for (int v = 0; v < vectors; ++v) load<T>(b_l[v], b + l * b_stride + v * lanes);
    for (int r = 0; r < rows; ++r) {
      const V a_r = a_l[r * a.row] - V{};  // in all lanes; minus zero is left out, plus is not
      for (int v = 0; v < vectors; ++v) sums[r][v] += a_r * b_l[v];
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int v = 0; v < vectors; ++v) {
      T* to = c + r * c_stride + v * lanes;
      if (add) {
        V before;
        load<T>(before, to);
        sums[r][v] += before;
      }
      std::memcpy(to, &sums[r][v], sizeof(V));
    }
  }
}

// The columns of C that a panel of B gives: all lanes of `vectors`, or the first `columns`.
template <int vectors, typename T>
void panel(T* c, std::int64_t c_stride, Left<T> a, const T* b, std::int64_t b_stride,
           std::int64_t rows, std::int64_t columns, std::int64_t k, bool add) {
  constexpr std::int64_t width = vectors * Vector<T>::lanes;
  std::int64_t i = 0;
  const auto next = [&]<int count, bool ahead>() {
    const Left<T> a_i{a.data + i * a.row, a.row, a.column};
    T* c_i = c + i * c_stride;
    if (columns == width) {
      tile<count, vectors, ahead>(c_i, c_stride, a_i, b, b_stride, k, add);
    } else {
      T whole[count * width];
      tile<count, vectors, ahead>(whole, width, a_i, b, b_stride, k, false);
      for (int r = 0; r < count; ++r) {
        for (std::int64_t j = 0; j < columns; ++j) {
          T& to = c_i[r * c_stride + j];
          to = add ? to + whole[r * width + j] : whole[r * width + j];
        }
      }
    }
    i += count;
  };
  const bool across = a.column != 1;
  while (i + tile_rows <= rows) {
    across ? next.template operator()<tile_rows, true>()
           : next.template operator()<tile_rows, false>();
  }
  while (i + 2 <= rows) next.template operator()<2, false>();
  if (i < rows) next.template operator()<1, false>();
}

// The same, as wide as the columns need.
template <typename T>
void panel_of(T* c, std::int64_t c_stride, Left<T> a, const T* b, std::int64_t b_stride,
              std::int64_t rows, std::int64_t columns, std::int64_t k, bool add) {
  const auto as_wide = [&]<int vectors>(const auto& self) -> void {
    if constexpr (vectors > 1) {
      if (columns <= (vectors - 1) * Vector<T>::lanes) {
        return self.template operator()<vectors - 1>(self);
      }
    }
    panel<vectors>(c, c_stride, a, b, b_stride, rows, columns, k, add);
  };
  as_wide.template operator()<tile_vectors>(as_wide);
}

// packed [k, tile_columns] = the columns of op(B) from b on, with zeros after the last.
template <typename T>
void pack(T* packed, Transpose transpose, const T* b, std::int64_t b_stride, std::int64_t columns,
          std::int64_t k) {
  constexpr std::int64_t width = tile_columns<T>, line = 64 / sizeof(T);
  if (columns < width) std::fill(packed, packed + k * width, T(0));
  if (transpose == Transpose::no) {
    for (std::int64_t l = 0; l < k; ++l) {
      std::copy(b + l * b_stride, b + l * b_stride + columns, packed + l * width);
    }
    return;
  }
  for (std::int64_t first = 0; first < k; first += line) {
    const std::int64_t last = std::min(k, first + line);
    for (std::int64_t j = 0; j < columns; ++j) {
      for (std::int64_t l = first; l < last; ++l) packed[l * width + j] = b[j * b_stride + l];
    }
  }
}

// On the calling thread.
template <typename T>
void product(T* c, std::int64_t c_stride, Left<T> a, Transpose transpose_b, const T* b,
             std::int64_t b_stride, std::int64_t m, std::int64_t n, std::int64_t k, bool add) {
  constexpr std::int64_t width = tile_columns<T>;
  alignas(64) thread_local T packed[block_k * width];
  const bool transposed = transpose_b == Transpose::yes;
  const std::int64_t rows_at_once = transposed ? m : block_rows;  // a panel is copied once for them
  for (std::int64_t l = 0; l < k; l += block_k) {
    const std::int64_t depth = std::min(block_k, k - l);
    for (std::int64_t i = 0; i < m; i += rows_at_once) {
      const std::int64_t rows = std::min(rows_at_once, m - i);
      const Left<T> a_block{a.data + i * a.row + l * a.column, a.row, a.column};
      for (std::int64_t j = 0; j < n; j += width) {
        const std::int64_t columns = std::min(width, n - j);
        const T* b_block = transposed ? b + j * b_stride + l : b + l * b_stride + j;
        const bool as_it_lies = !transposed && columns == width;
        if (!as_it_lies) pack(packed, transpose_b, b_block, b_stride, columns, depth);
        panel_of(c + i * c_stride + j, c_stride, a_block, as_it_lies ? b_block : packed,
                 as_it_lies ? b_stride : width, rows, columns, depth, add || l > 0);
      }
    }
  }
}

}  // namespace many_rows

// All threads: C [m, n] = op(A) [m, k] op(B) [k, n], added to C where `add`; `*_stride` is the
// distance between rows as stored. Each thread computes a share of C's rows, or of its columns
// where there are more of them, or where a transposed B can be dealt out evenly and is then copied
// once.
template <typename T>
void many_rows_product(Transpose transpose_a, Transpose transpose_b, std::int64_t m, std::int64_t n,
                       std::int64_t k, const T* a, std::int64_t a_stride, const T* b,
                       std::int64_t b_stride, bool add, T* c, std::int64_t c_stride) {
  if constexpr (!many_vector_registers) {
    parallel_gemm<T>(transpose_a, transpose_b, m, n, k, 1, a, a_stride, b, b_stride, add ? 1 : 0, c,
                     c_stride);
    return;
  }
  constexpr std::int64_t width = many_rows::tile_columns<T>;
#pragma omp parallel if (m * n * k > 32 * worth_sharing)
  {
    const std::int64_t threads = omp_get_num_threads(), panels = (n + width - 1) / width;
    const bool even = panels % threads == 0 || panels >= 4 * threads;
    const bool by_rows = transpose_b == Transpose::yes ? !even : m >= n;
    const ThreadShare rows = by_rows ? thread_share(m, many_rows::tile_rows) : ThreadShare{0, m};
    const ThreadShare columns = by_rows ? ThreadShare{0, n} : thread_share(n, width);
    const bool across = transpose_a == Transpose::yes;
    const many_rows::Left<T> left{a + rows.first * (across ? 1 : a_stride), across ? 1 : a_stride,
                                  across ? a_stride : 1};
    const T* b_part = b + columns.first * (transpose_b == Transpose::yes ? b_stride : 1);
    T* c_part = c + rows.first * c_stride + columns.first;
    const std::int64_t height = rows.last - rows.first, breadth = columns.last - columns.first;
    if (k == 0 && !add) {
      for (std::int64_t i = 0; i < height; ++i) {
        std::fill(c_part + i * c_stride, c_part + i * c_stride + breadth, T(0));
      }
    }
    many_rows::product(c_part, c_stride, left, transpose_b, b_part, b_stride, height, breadth, k,
                       add);
  }
}

}  // namespace memengine
