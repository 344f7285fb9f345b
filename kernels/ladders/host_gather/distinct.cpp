// Second rung: the sorted list of distinct rows. None is read twice, and neighbours in the list are
// neighbours in memory, so that pages are looked up less often.
#include <cstring>

#include "kernels/dispatch.h"
#include "kernels/ladders/host_gather/rungs.h"

namespace memengine::ladders {

void distinct(const Context& context, Tensor out, const ValueRows& table,
              const UniqueRows& unique) {
  MEMENGINE_ON_CUDA(context, cuda::distinct(context, out, table, unique));
  auto* to = static_cast<std::uint16_t*>(out.data());
  const std::int64_t v_dim = table.v_dim();
  for (std::int64_t u = 0; u < *unique.count.as<std::int32_t>(); ++u) {
    std::memcpy(to + u * v_dim, table.hi + unique.rows.as<std::int32_t>()[u] * v_dim,
                static_cast<std::size_t>(2 * v_dim));
  }
}

}  // namespace memengine::ladders
