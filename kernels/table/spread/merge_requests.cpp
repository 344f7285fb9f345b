// CPU reference: the requests sorted by row, equal rows in the order of ranks.
#include "kernels/table/spread/merge_requests.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/dispatch.h"

namespace memengine {

void merge_requests(const Context& context, const UniqueRows& owned, Tensor requests, Tensor count,
                    Tensor begins, std::int64_t part_rows) {
  MEMENGINE_ON_CUDA(context,
                    cuda::merge_requests(context, owned, requests, count, begins, part_rows));
  const auto* rows = requests.as<std::int32_t>();
  std::vector<std::int32_t> order(static_cast<std::size_t>(*count.as<std::int32_t>()));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t a, std::int32_t b) { return rows[a] < rows[b]; });
  std::int32_t distinct = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const std::int32_t row = rows[order[i]];
    if (i == 0 || row != rows[order[i - 1]]) {
      owned.rows.as<std::int32_t>()[distinct] = row;
      owned.offsets.as<std::int32_t>()[distinct++] = static_cast<std::int32_t>(i);
    }
    owned.order.as<std::int32_t>()[i] = order[i];
    if (!owned.inverse.empty()) owned.inverse.as<std::int32_t>()[order[i]] = distinct - 1;
  }
  owned.offsets.as<std::int32_t>()[distinct] = static_cast<std::int32_t>(order.size());
  *owned.count.as<std::int32_t>() = distinct;
}

std::int64_t merge_requests_scratch_bytes([[maybe_unused]] Device device,
                                          [[maybe_unused]] std::int64_t capacity,
                                          [[maybe_unused]] std::int64_t part_rows) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::merge_requests_scratch_bytes(capacity, part_rows);
  }
  return 0;
}

}  // namespace memengine
