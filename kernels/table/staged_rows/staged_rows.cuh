// What the plan of an exchange (staged_rows_plan.cu) and its copies (staged_rows.cu) share.
#pragma once

#include "kernels/table/staged_rows/staged_rows.h"

namespace memengine::cuda {

// Rows in ascending order, and how many. `places` may be none.
struct RowList {
  const std::int32_t* rows;
  const std::int32_t* places;
  const std::int32_t* count;
};

// StagedRows::moves.
struct Moves {
  std::int32_t coming, going;
  std::uint32_t next_share;
};

inline RowList list_of(const StagedRows& staged) {
  return {staged.rows.as<std::int32_t>(), staged.places.as<std::int32_t>(),
          staged.count.as<std::int32_t>()};
}

inline RowList list_of(const UniqueRows& unique) {
  return {unique.rows.as<std::int32_t>(), nullptr, unique.count.as<std::int32_t>()};
}

// The lists of an exchange: rows and their places in the area, [S] each.
struct Exchange {
  std::int32_t* coming_rows = nullptr;
  std::int32_t* coming_places = nullptr;
  std::int32_t* going_rows = nullptr;
  std::int32_t* going_places = nullptr;
  Moves* moves = nullptr;

  Exchange() = default;
  explicit Exchange(const StagedRows& staged)
      : coming_rows(staged.coming.as<std::int32_t>()),
        coming_places(coming_rows + staged.capacity()),
        going_rows(staged.going.as<std::int32_t>()),
        going_places(going_rows + staged.capacity()),
        moves(reinterpret_cast<Moves*>(staged.moves.as<std::int32_t>())) {}
};

}  // namespace memengine::cuda
