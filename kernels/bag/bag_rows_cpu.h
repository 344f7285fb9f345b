// How the CPU loops read rows, and the two loops over many rows: weighted sums, and dot products
// with one vector.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/bag/bag_rows.h"
#include "kernels/bag/lanes.h"

namespace memengine {

// `rows.element(row, column)` is one number, `rows.lanes(row, column)` are lane_count<T> of them.
template <typename T>
struct GatheredRows {
  const T* data;
  std::int64_t v_dim;

  T element(std::int64_t row, std::int64_t column) const { return data[row * v_dim + column]; }
  Lanes<T> lanes(std::int64_t row, std::int64_t column) const {
    return load_lanes(data + row * v_dim + column);
  }
};

// A table's rows from their upper halves, or from both.
template <typename T, bool both>
struct TableRows {
  const std::uint16_t* hi;
  const std::byte* records;
  std::int64_t v_dim, record_bytes;

  const std::uint16_t* lo(std::int64_t row) const {
    return reinterpret_cast<const std::uint16_t*>(records + row * record_bytes);
  }
  T element(std::int64_t row, std::int64_t column) const {
    return static_cast<T>(join_float(hi[row * v_dim + column], both ? lo(row)[column] : 0));
  }
  Lanes<T> lanes(std::int64_t row, std::int64_t column) const {
    return join_lanes<T, both>(hi + row * v_dim + column, both ? lo(row) + column : nullptr);
  }
};

// Calls body(rows) for activations of T.
template <typename T, typename Body>
void dispatch_bag_rows(const BagRows& rows, Body&& body) {
  const ValueRows& table = rows.table;
  if (!rows.gathered.empty()) {
    body(GatheredRows<T>{rows.gathered.as<T>(), rows.gathered.dim(1)});
  } else if (rows.precision == ValuePrecision::bf16) {
    body(TableRows<T, false>{table.hi, table.records, table.v_dim(), table.layout.bytes()});
  } else {
    body(TableRows<T, true>{table.hi, table.records, table.v_dim(), table.layout.bytes()});
  }
}

// out [columns] = sum over i < count of weight(i) * row number row(i), or += with `accumulate`.
// Sums stay in registers, four at a time where a row is that long.
template <bool accumulate = false, typename T, typename Rows, typename Weight, typename Row>
void weighted_sum(T* out, const Rows& rows, std::int64_t count, std::int64_t columns,
                  Weight&& weight, Row&& row) {
  constexpr std::int64_t lanes = lane_count<T>;
  std::int64_t column = 0;
  const auto sum_slab = [&]<int width>() {
    for (; column + width * lanes <= columns; column += width * lanes) {
      Lanes<T> sum[width] = {};
      if constexpr (accumulate) {
        for (int j = 0; j < width; ++j) sum[j] = load_lanes(out + column + j * lanes);
      }
      for (std::int64_t i = 0; i < count; ++i) {
        const T factor = weight(i);
        const std::int64_t number = row(i);
        for (int j = 0; j < width; ++j) sum[j] += factor * rows.lanes(number, column + j * lanes);
      }
      for (int j = 0; j < width; ++j) store_lanes(out + column + j * lanes, sum[j]);
    }
  };
  sum_slab.template operator()<4>();
  sum_slab.template operator()<1>();
  if (column == columns) return;
  if constexpr (!accumulate) std::fill(out + column, out + columns, T{0});
  for (std::int64_t i = 0; i < count; ++i) {
    const T factor = weight(i);
    const std::int64_t number = row(i);
    for (std::int64_t j = column; j < columns; ++j) out[j] += factor * rows.element(number, j);
  }
}

// out(i, <x, row number row(i)>) for i < count: as many products at a time as there are lanes,
// whose sums over lanes are then taken together. What is left of a row is added with fma() by name:
// left to the compiler, one kind of rows gets fused products and another does not, and rows read in
// place would not give the bits of gathered ones.
template <typename T, typename Rows, typename Row, typename Out>
void dot_products(const T* x, const Rows& rows, std::int64_t count, std::int64_t columns, Row&& row,
                  Out&& out) {
  constexpr std::int64_t lanes = lane_count<T>;
  const std::int64_t whole = columns / lanes * lanes;
  for (std::int64_t first = 0; first < count; first += lanes) {
    const std::int64_t here = std::min(lanes, count - first);
    std::int64_t number[lanes];
    for (std::int64_t i = 0; i < lanes; ++i) number[i] = row(first + std::min(i, here - 1));
    Lanes<T> product[lanes] = {};
    for (std::int64_t column = 0; column < whole; column += lanes) {
      const Lanes<T> factor = load_lanes(x + column);
      for (std::int64_t i = 0; i < lanes; ++i) product[i] += factor * rows.lanes(number[i], column);
    }
    const Lanes<T> sums = lane_sums<T>(product);
    for (std::int64_t i = 0; i < here; ++i) {
      T sum = sums[i];
      for (std::int64_t j = whole; j < columns; ++j)
        sum = std::fma(x[j], rows.element(number[i], j), sum);
      out(first + i, sum);
    }
  }
}

}  // namespace memengine
