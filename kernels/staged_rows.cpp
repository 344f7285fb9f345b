// CPU reference of staging: the area's rows and the step's list both ascend, so one merge of the
// two says which rows go, stay and come.
#include "kernels/staged_rows.h"

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

// Rows and the places that they have in the area.
struct PlacedRows {
  std::int32_t* rows;
  std::int32_t* places;
  std::int32_t count = 0;

  PlacedRows(Scratch& scratch, std::int64_t capacity)
      : rows(scratch.take<std::int32_t>(capacity)), places(scratch.take<std::int32_t>(capacity)) {}
  void add(std::int32_t row, std::int32_t place) {
    rows[count] = row;
    places[count++] = place;
  }
};

void exchange_round(const Context& context, const StagedRows& staged, const ValueRows& table,
                    const UniqueRows& unique) {
  const auto capacity = static_cast<std::int32_t>(staged.capacity());
  std::int32_t* rows = staged.rows.as<std::int32_t>();
  std::int32_t* places = staged.places.as<std::int32_t>();
  std::int32_t* listed = staged.listed.as<std::int32_t>();
  const std::int32_t before = *staged.count.as<std::int32_t>();
  const std::int32_t* list = unique.rows.as<std::int32_t>();
  const std::int32_t length = *unique.count.as<std::int32_t>();
  Scratch scratch(context);
  PlacedRows after(scratch, capacity);
  PlacedRows coming(scratch, capacity);
  PlacedRows going(scratch, capacity);

  std::int32_t next = 0;     // of the rows that are in the area
  std::int32_t outside = 0;  // rows of the list without a place
  for (std::int32_t u = 0; u < length; ++u) {
    for (; next < before && rows[next] < list[u]; ++next) going.add(rows[next], places[next]);
    const bool stays = next < before && rows[next] == list[u];
    if (!stays && before + coming.count == capacity) {
      listed[length - ++outside] = u;
      continue;
    }
    const std::int32_t place = stays ? places[next++] : places[before + coming.count];
    if (!stays) coming.add(list[u], place);
    listed[after.count] = u;
    after.add(list[u], place);
  }
  for (; next < before; ++next) going.add(rows[next], places[next]);

#pragma omp parallel
  {
#pragma omp for schedule(static) nowait
    for (std::int32_t i = 0; i < coming.count; ++i) {
      copy_row(staged.values, coming.places[i], table, coming.rows[i]);
    }
#pragma omp for schedule(static)
    for (std::int32_t i = 0; i < going.count; ++i) {
      copy_row(table, going.rows[i], staged.values, going.places[i]);
    }
  }

  // The free places: those that are left over, then those of the rows that went.
  std::int32_t* free =
      std::copy(places + before + coming.count, places + capacity, after.places + after.count);
  std::copy_n(going.places, going.count, free);
  std::copy_n(after.rows, after.count, rows);
  std::copy_n(after.places, capacity, places);
  *staged.count.as<std::int32_t>() = after.count;
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
  const std::int32_t* rows = staged.rows.as<std::int32_t>();
  const std::int32_t* end = rows + *staged.count.as<std::int32_t>();
  const std::int32_t* next = rows;
  for (std::int64_t u = 0; u < *unique.count.as<std::int32_t>(); ++u) {
    const std::int32_t row = unique.rows.as<std::int32_t>()[u];
    while (next < end && *next < row) ++next;
    newer.as<std::int32_t>()[u] =
        next < end && *next == row ? staged.places.as<std::int32_t>()[next - rows] : -1;
  }
}

void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   const UniqueRows& unique) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::exchange_rows(context, staged, table, unique));
  const int rounds = exchange_rounds(staged, table, unique.capacity());
  for (int round = 0; round < rounds; ++round) exchange_round(context, staged, table, unique);
}

std::int64_t exchange_rows_scratch_bytes(Device device, std::int64_t places,
                                         [[maybe_unused]] std::int64_t listed) {
  if (places == 0) return 0;
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::exchange_rows_scratch_bytes(places, listed);
  }
  return 6 * scratch_part<std::int32_t>(places);
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
