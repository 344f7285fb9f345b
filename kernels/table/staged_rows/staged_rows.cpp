// CPU reference of the cache: the exchange's plan and its copies. Lookups are in lookups.cpp.
#include "kernels/table/staged_rows/staged_rows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/dispatch.h"
#include "kernels/runtime/runtime.h"
#include "kernels/table/staged_rows/row_heat.h"

namespace memengine {
namespace {

void copy_record(const ValueRows& to, std::int64_t to_row, const ValueRows& from,
                 std::int64_t from_row) {
  const std::int64_t bytes = from.layout.bytes();
  std::copy_n(from.records + from_row * bytes, bytes, to.records + to_row * bytes);
}

void copy_weights(const ValueRows& to, std::int64_t to_row, const ValueRows& from,
                  std::int64_t from_row) {
  std::copy_n(from.hi + from_row * from.v_dim(), from.v_dim(), to.hi + to_row * from.v_dim());
}

void copy_row(const ValueRows& to, std::int64_t to_row, const ValueRows& from,
              std::int64_t from_row) {
  copy_weights(to, to_row, from, from_row);
  copy_record(to, to_row, from, from_row);
}

// The coldest `wanted` of the places that the step does not use, equally cold ones in the order of
// places, leave their rows: listed in ascending order of rows. `used` has a byte for every place.
void list_going(const StagedRows& staged, const std::uint8_t* used, std::int32_t wanted) {
  const std::int32_t occupied = *staged.occupied.as<std::int32_t>();
  const auto* heat = staged.heat.as<std::uint8_t>();
  auto* place_of = staged.place_of.as<std::int32_t>();
  std::array<std::int32_t, heat_levels> at_level{};
  for (std::int32_t place = 0; place < occupied; ++place) {
    if (used[place] == 0) ++at_level[heat[place]];
  }
  int level = 0;
  std::int32_t colder = 0;
  while (level < heat_levels - 1 && colder + at_level[static_cast<std::size_t>(level)] < wanted) {
    colder += at_level[static_cast<std::size_t>(level++)];
  }
  std::int32_t of_level = wanted - colder;
  std::int32_t* rows = staged.going.as<std::int32_t>();
  std::int32_t* places = rows + staged.exchanged();
  std::int32_t going = 0;
  for (std::int32_t place = 0; place < occupied && wanted > 0; ++place) {
    if (used[place] != 0 || heat[place] > level) continue;
    if (heat[place] == level && of_level-- <= 0) continue;
    rows[going++] = staged.row_at.as<std::int32_t>()[place];
  }
  std::sort(rows, rows + going);
  for (std::int32_t i = 0; i < going; ++i) {
    places[i] = place_of[rows[i]];
    place_of[rows[i]] = -1;
  }
}

}  // namespace

void empty_staging(const Context& context, const StagedRows& staged) {
  if (staged.capacity() == 0) return;
  fill_zero(context, staged.occupied);
  fill_zero(context, staged.marks);
  fill_zero(context, staged.heat);
  fill_zero(context, staged.count);
  fill_zero(context, staged.moves);
  if (staged.guest_capacity() > 0) fill_zero(context, staged.pass);
  MEMENGINE_ON_CUDA(context, cuda::empty_staging(context, staged));
  std::fill_n(staged.place_of.as<std::int32_t>(), staged.place_of.size(), -1);
}

void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::plan_exchange(context, staged, unique));
  const auto capacity = static_cast<std::int32_t>(staged.capacity());
  const std::int32_t length = *unique.count.as<std::int32_t>();
  const std::int32_t* list = unique.rows.as<std::int32_t>();
  std::int32_t& occupied = *staged.occupied.as<std::int32_t>();
  auto* place_of = staged.place_of.as<std::int32_t>();
  auto* row_at = staged.row_at.as<std::int32_t>();
  auto* heat = staged.heat.as<std::uint8_t>();
  Scratch scratch(context);
  auto* used = scratch.take<std::uint8_t>(capacity);

  std::fill_n(used, capacity, std::uint8_t{0});
  const auto in_area = [&](std::int32_t place) { return place >= 0 && place < capacity; };
  std::int32_t hits = 0;
  for (std::int32_t u = 0; u < length; ++u) {
    if (!in_area(place_of[list[u]])) continue;
    used[place_of[list[u]]] = 1;
    ++hits;
  }
  for (std::int32_t place = 0; place < occupied; ++place) {
    heat[place] = static_cast<std::uint8_t>(next_heat(heat[place], used[place] != 0));
  }
  const std::int32_t free = capacity - occupied;
  const std::int32_t misses = length - hits;
  const std::int32_t going = std::clamp(misses - free, 0, occupied - hits);
  const std::int32_t coming = std::min(misses, free + going);
  list_going(staged, used, going);

  const std::int32_t* going_places = staged.going.as<std::int32_t>() + staged.exchanged();
  std::int32_t* coming_rows = staged.coming.as<std::int32_t>();
  std::int32_t* coming_places = coming_rows + staged.exchanged();
  std::int32_t* coming_from = coming_places + staged.exchanged();
  auto* listed = staged.listed.as<std::int32_t>();
  auto* placed = staged.placed.as<std::int32_t>();
  std::int32_t came = 0;
  std::int32_t inside = 0;
  std::int32_t outside = 0;
  for (std::int32_t u = 0; u < length; ++u) {
    std::int32_t& place = place_of[list[u]];
    if (!in_area(place)) {
      if (came == coming) {
        listed[length - ++outside] = u;
        continue;
      }
      coming_rows[came] = list[u];
      coming_from[came] = place;
      place = came < going ? going_places[came] : occupied + came - going;
      coming_places[came++] = place;
      row_at[place] = list[u];
      heat[place] = heat_of_a_use;
    }
    listed[inside] = u;
    placed[inside++] = place;
  }
  occupied += coming - going;
  *staged.count.as<std::int32_t>() = inside;
  std::int32_t* moves = staged.moves.as<std::int32_t>();
  moves[0] = coming;
  moves[1] = going;
  moves[2] = 0;
}

std::int64_t plan_exchange_scratch_bytes(Device device, const StagedSize& size) {
  if (size.places == 0) return 0;
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::plan_exchange_scratch_bytes(size);
  }
  return scratch_part<std::uint8_t>(size.places);
}

void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   ExchangePace pace) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::exchange_rows(context, staged, table, pace));
  const std::int32_t* coming_rows = staged.coming.as<std::int32_t>();
  const std::int32_t* coming_places = coming_rows + staged.exchanged();
  const std::int32_t* coming_from = coming_places + staged.exchanged();
  const std::int32_t* going_rows = staged.going.as<std::int32_t>();
  const std::int32_t* going_places = going_rows + staged.exchanged();
  std::int32_t* moves = staged.moves.as<std::int32_t>();
  const std::int32_t coming = moves[0];
  const std::int32_t going = moves[1];
  const std::int32_t end = std::max(coming, going);
#pragma omp parallel for schedule(static)
  for (std::int32_t i = moves[2]; i < end; ++i) {
    if (i < going) copy_row(table, going_rows[i], staged.values, going_places[i]);
    if (i >= coming) continue;
    copy_record(staged.values, coming_places[i], table, coming_rows[i]);
    if (coming_from[i] < 0)
      copy_weights(staged.values, coming_places[i], table, coming_rows[i]);
    else
      copy_weights(staged.values, coming_places[i], staged.values, coming_from[i]);
  }
  moves[2] = end;
}

void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged) {
  if (staged.capacity() == 0) return;
  MEMENGINE_ON_CUDA(context, cuda::store_rows(context, table, staged));
  const auto* row_at = staged.row_at.as<std::int32_t>();
  const std::int32_t occupied = *staged.occupied.as<std::int32_t>();
#pragma omp parallel for schedule(static)
  for (std::int32_t place = 0; place < occupied; ++place) {
    copy_row(table, row_at[place], staged.values, place);
  }
}

}  // namespace memengine
