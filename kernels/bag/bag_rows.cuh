// How the kernels read rows: `load<width>(row, column)` is `width` neighbouring elements as they
// lie in memory, `piece[i]` one of them as a float. Also the one place that decides how many lanes
// a row gets.
#pragma once

#include "kernels/bag/bag_rows.h"
#include "kernels/device_math.cuh"

namespace memengine::cuda {

// A matrix of floats or of BF16 numbers; the upper halves of a table are one too.
template <typename Element>
struct PlainRows {
  static constexpr int in_flight = 8;  // that a thread's registers hold
  const Element* data;
  std::int64_t columns;

  template <int width>
  __device__ __forceinline__ Pack<Element, width> load(std::int64_t row, int column) const {
    return cuda::load<width>(data + row * columns + column);
  }
};

// A table whose rows are read in full precision, as a gather to activations of T rounds them.
template <typename T>
struct SplitRows {
  static constexpr int in_flight = 4;
  const std::uint16_t* hi;
  const std::byte* records;
  std::int64_t columns;
  std::int64_t record_bytes;

  template <int width>
  struct Piece {
    Pack<std::uint16_t, width> hi, lo;

    __device__ __forceinline__ float operator[](int i) const {
      return rounded<T>(join_float(hi.element[i], lo.element[i]));
    }
  };

  template <int width>
  __device__ __forceinline__ Piece<width> load(std::int64_t row, int column) const {
    const auto* lo = reinterpret_cast<const std::uint16_t*>(records + row * record_bytes);
    return {cuda::load<width>(hi + row * columns + column), cuda::load<width>(lo + column)};
  }
};

// Calls body.template operator()<width, team>(): a row of `columns` elements is read by teams of 8,
// 16 or 32 lanes of `wide` elements each, as it is long, or element by element by a warp where it
// cannot be cut in vectors.
template <int wide, typename Body>
void dispatch_team(std::int64_t columns, bool vectors, Body&& body) {
  if (!vectors)
    body.template operator()<1, 32>();
  else if (columns <= wide * 8)
    body.template operator()<wide, 8>();
  else if (columns <= wide * 16)
    body.template operator()<wide, 16>();
  else
    body.template operator()<wide, 32>();
}

// Calls body.template operator()<width, team>(reader) for `rows` of `columns` elements beside
// activations of T at `others`. How a row is cut depends on T alone and not on where it lies, so
// that sums are the same to the bit.
template <typename T, typename Body>
void dispatch_bag_rows(const BagRows& rows, std::int64_t columns,
                       std::initializer_list<const void*> others, Body&& body) {
  const auto with = [&](const auto& reader) {
    dispatch_team<vector_width<T>>(
        columns, in_vectors<T>(columns, others) && in_vectors<T>(columns, {rows.data()}),
        [&]<int width, int team>() { body.template operator()<width, team>(reader); });
  };
  if (!rows.gathered.empty()) {
    with(PlainRows<T>{rows.gathered.as<T>(), columns});
  } else if (rows.precision == ValuePrecision::bf16) {
    with(PlainRows<bfloat16>{reinterpret_cast<const bfloat16*>(rows.table.hi), columns});
  } else {
    with(SplitRows<T>{rows.table.hi, rows.table.records, columns, rows.table.layout.bytes()});
  }
}

}  // namespace memengine::cuda
