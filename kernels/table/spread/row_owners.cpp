// CPU reference of the spread numbers.
#include "kernels/table/spread/row_owners.h"

#include <algorithm>

#include "kernels/dispatch.h"

namespace memengine {

void spread_numbers(const Context& context, Tensor out, Tensor picks, const RowOwners& owners) {
  MEMENGINE_ON_CUDA(context, cuda::spread_numbers(context, out, picks, owners));
  const auto* rows = picks.as<std::int32_t>();
  auto* numbers = out.as<std::int32_t>();
  const auto ranks = static_cast<std::int32_t>(owners.ranks);
  const auto part = static_cast<std::int32_t>(owners.part());
#pragma omp parallel for schedule(static)
  for (std::int64_t p = 0; p < picks.size(); ++p) {
    numbers[p] = rows[p] % ranks * part + rows[p] / ranks;
  }
}

void count_by_owner(const Context& context, Tensor counts, const UniqueRows& unique,
                    const RowOwners& owners) {
  MEMENGINE_ON_CUDA(context, cuda::count_by_owner(context, counts, unique, owners));
  const auto* numbers = unique.rows.as<std::int32_t>();
  const std::int32_t* begin = numbers;
  for (std::int64_t rank = 0; rank < owners.ranks; ++rank) {
    const std::int32_t* end = std::lower_bound(begin, numbers + *unique.count.as<std::int32_t>(),
                                               (rank + 1) * owners.part());
    counts.as<std::int32_t>()[rank] = static_cast<std::int32_t>(end - begin);
    begin = end;
  }
}

void settle_requests(const Context& context, Tensor rows, Tensor count, const RowOwners& owners,
                     std::int64_t owner) {
  MEMENGINE_ON_CUDA(context, cuda::settle_requests(context, rows, count, owners, owner));
  auto* places = rows.as<std::int32_t>();
  for (std::int64_t q = 0; q < rows.size(); ++q) {
    const std::int64_t place = places[q] - owner * owners.part();
    if (place < 0 || place >= owners.rows_of(owner)) {
      fail_internal("rank {} is asked for spread number {}, which is not its own", owner,
                    places[q]);
    }
    places[q] = static_cast<std::int32_t>(place);
  }
  *count.as<std::int32_t>() = static_cast<std::int32_t>(rows.size());
}

}  // namespace memengine
