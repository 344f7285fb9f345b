// CPU reference of what lookups ask of the cache.
#include <algorithm>

#include "kernels/dispatch.h"
#include "kernels/table/staged_rows/staged_rows.h"

namespace memengine {
namespace {

std::int64_t counted(const Tensor& picks, const Tensor& count) {
  return count.empty() ? picks.size() : *count.as<std::int32_t>();
}

}  // namespace

void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context, cuda::find_staged(context, newer, staged, unique));
  const auto* place_of = staged.place_of.as<std::int32_t>();
  for (std::int32_t u = 0; u < *unique.count.as<std::int32_t>(); ++u) {
    const std::int32_t place = place_of[unique.rows.as<std::int32_t>()[u]];
    newer.as<std::int32_t>()[u] = place < staged.capacity() ? place : -1;
  }
}

void forget_guests(const Context& context, const StagedRows& staged) {
  MEMENGINE_ON_CUDA(context, cuda::forget_guests(context, staged));
  auto* place_of = staged.place_of.as<std::int32_t>();
  auto* pass = staged.pass.as<std::int32_t>();
  for (std::int32_t g = 0; g < pass[1]; ++g) {
    std::int32_t& place = place_of[staged.guests.as<std::int32_t>()[g]];
    if (place >= staged.capacity()) place = -1;
  }
  pass[0] = pass[1] = 0;
}

void invite_guests(const Context& context, const StagedRows& staged, Tensor picks, Tensor count) {
  MEMENGINE_ON_CUDA(context, cuda::invite_guests(context, staged, picks, count));
  auto* place_of = staged.place_of.as<std::int32_t>();
  auto* guests = staged.guests.as<std::int32_t>();
  auto* pass = staged.pass.as<std::int32_t>();
  pass[0] = pass[1];
  for (std::int64_t p = 0; p < counted(picks, count); ++p) {
    const std::int32_t row = picks.as<std::int32_t>()[p];
    if (place_of[row] >= 0) continue;
    guests[pass[1]++] = row;
    place_of[row] = static_cast<std::int32_t>(staged.capacity());  // anything: it is known now
  }
  std::sort(guests + pass[0], guests + pass[1]);
  for (std::int32_t g = pass[0]; g < pass[1]; ++g) {
    place_of[guests[g]] = static_cast<std::int32_t>(staged.capacity()) + g;
  }
}

std::int64_t invite_guests_scratch_bytes([[maybe_unused]] Device device,
                                         [[maybe_unused]] std::int64_t table_rows) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::invite_guests_scratch_bytes(table_rows);
  }
  return 0;
}

Tensor guest_rows(const StagedRows& staged) {
  const std::int64_t v_dim = staged.values.v_dim();
  return {
      staged.values.hi + staged.capacity() * v_dim, DType::bf16, {staged.guest_capacity(), v_dim}};
}

void place_picks(const Context& context, Tensor places, Tensor picks, const StagedRows& staged,
                 Tensor count) {
  MEMENGINE_ON_CUDA(context, cuda::place_picks(context, places, picks, staged, count));
  const auto* place_of = staged.place_of.as<std::int32_t>();
  std::transform(picks.as<std::int32_t>(), picks.as<std::int32_t>() + counted(picks, count),
                 places.as<std::int32_t>(), [&](std::int32_t row) { return place_of[row]; });
}

}  // namespace memengine
