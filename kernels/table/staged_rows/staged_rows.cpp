// CPU reference of staging: the area's rows and the step's list both ascend, so merging the two
// says which rows go, stay and come.
#include "kernels/table/staged_rows/staged_rows.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "kernels/dispatch.h"

namespace memengine {
namespace {

void copy_row(const ValueRows& to, std::int64_t to_row, const ValueRows& from,
              std::int64_t from_row) {
  const std::int64_t v_dim = from.v_dim();
  const std::int64_t bytes = from.layout.bytes();
  std::copy_n(from.hi + from_row * v_dim, v_dim, to.hi + to_row * v_dim);
  std::copy_n(from.records + from_row * bytes, bytes, to.records + to_row * bytes);
}

// Rows of the list that are in the area: body(u, number in the area, or -1 where it is not there).
template <typename Body>
void match(const StagedRows& staged, const UniqueRows& unique, Body&& body) {
  const std::int32_t* rows = staged.rows.as<std::int32_t>();
  const std::int32_t* end = rows + *staged.count.as<std::int32_t>();
  const std::int32_t* next = rows;
  for (std::int32_t u = 0; u < *unique.count.as<std::int32_t>(); ++u) {
    const std::int32_t row = unique.rows.as<std::int32_t>()[u];
    while (next < end && *next < row) ++next;
    body(u, next < end && *next == row ? static_cast<std::int32_t>(next - rows) : -1);
  }
}

}  // namespace

void empty_staging(const Context& context, const StagedRows& staged) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::empty_staging(context, staged));
  *staged.count.as<std::int32_t>() = 0;
  std::iota(staged.places.as<std::int32_t>(), staged.places.as<std::int32_t>() + staged.capacity(),
            0);
}

void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context, cuda::find_staged(context, newer, staged, unique));
  match(staged, unique, [&](std::int32_t u, std::int32_t number) {
    newer.as<std::int32_t>()[u] = number < 0 ? -1 : staged.places.as<std::int32_t>()[number];
  });
}

void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::plan_exchange(context, staged, unique));
  const auto capacity = static_cast<std::int32_t>(staged.capacity());
  std::int32_t* rows = staged.rows.as<std::int32_t>();
  std::int32_t* places = staged.places.as<std::int32_t>();
  std::int32_t& count = *staged.count.as<std::int32_t>();
  std::int32_t* listed = staged.listed.as<std::int32_t>();
  std::int32_t* coming_rows = staged.coming.as<std::int32_t>();
  std::int32_t* coming_places = coming_rows + capacity;
  std::int32_t* going_rows = staged.going.as<std::int32_t>();
  std::int32_t* going_places = going_rows + capacity;
  Scratch scratch(context);
  auto* leaves = scratch.take<std::int32_t>(capacity);
  auto* rows_after = scratch.take<std::int32_t>(capacity);
  auto* places_after = scratch.take<std::int32_t>(capacity);

  std::fill_n(leaves, count, 1);
  match(staged, unique, [&](std::int32_t, std::int32_t number) {
    if (number >= 0) leaves[number] = 0;
  });
  std::int32_t going = 0;
  for (std::int32_t i = 0; i < count; ++i) {
    if (leaves[i] == 0) continue;
    going_rows[going] = rows[i];
    going_places[going++] = places[i];
  }

  // Free places: those that rows leave, then those that were free.
  const auto free_place = [&](std::int32_t i) {
    return i < going ? going_places[i] : places[count + i - going];
  };
  const std::int32_t free = capacity - count + going;
  const std::int32_t length = *unique.count.as<std::int32_t>();
  std::int32_t coming = 0;
  std::int32_t after = 0;
  std::int32_t outside = 0;  // rows of the list without a place
  match(staged, unique, [&](std::int32_t u, std::int32_t number) {
    const bool stays = number >= 0;
    if (!stays && coming == free) {
      listed[length - ++outside] = u;
      return;
    }
    const std::int32_t row = unique.rows.as<std::int32_t>()[u];
    const std::int32_t place = stays ? places[number] : free_place(coming);
    if (!stays) {
      coming_rows[coming] = row;
      coming_places[coming++] = place;
    }
    listed[after] = u;
    rows_after[after] = row;
    places_after[after++] = place;
  });
  for (std::int32_t i = after; i < capacity; ++i) places_after[i] = free_place(coming + i - after);

  std::copy_n(rows_after, after, rows);
  std::copy_n(places_after, capacity, places);
  count = after;
  std::int32_t* moves = staged.moves.as<std::int32_t>();
  moves[0] = coming;
  moves[1] = going;
  moves[2] = 0;
}

std::int64_t plan_exchange_scratch_bytes(Device device, std::int64_t places,
                                         [[maybe_unused]] std::int64_t listed) {
  if (places == 0) return 0;
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::plan_exchange_scratch_bytes(places, listed);
  }
  return 3 * scratch_part<std::int32_t>(places);
}

void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   ExchangePace pace) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::exchange_rows(context, staged, table, pace));
  const std::int32_t* coming_rows = staged.coming.as<std::int32_t>();
  const std::int32_t* coming_places = coming_rows + staged.capacity();
  const std::int32_t* going_rows = staged.going.as<std::int32_t>();
  const std::int32_t* going_places = going_rows + staged.capacity();
  std::int32_t* moves = staged.moves.as<std::int32_t>();
  const std::int32_t coming = moves[0];
  const std::int32_t going = moves[1];
  const std::int32_t end = std::max(coming, going);
#pragma omp parallel for schedule(static)
  for (std::int32_t i = moves[2]; i < end; ++i) {
    if (i < going) copy_row(table, going_rows[i], staged.values, going_places[i]);
    if (i < coming) copy_row(staged.values, coming_places[i], table, coming_rows[i]);
  }
  moves[2] = end;
}

void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::store_rows(context, table, staged));
  const std::int32_t* rows = staged.rows.as<std::int32_t>();
  const std::int32_t* places = staged.places.as<std::int32_t>();
  const std::int32_t count = *staged.count.as<std::int32_t>();
#pragma omp parallel for schedule(static)
  for (std::int32_t i = 0; i < count; ++i) copy_row(table, rows[i], staged.values, places[i]);
}

}  // namespace memengine
