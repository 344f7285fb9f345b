// First rung: one thread, one row after the other.
#include <cstring>

#include "kernels/dispatch.h"
#include "kernels/ladders/host_gather/rungs.h"

namespace memengine::ladders {

void in_order(const Context& context, Tensor out, const ValueRows& table, Tensor picks) {
  MEMENGINE_ON_CUDA(context, cuda::in_order(context, out, table, picks));
  auto* to = static_cast<std::uint16_t*>(out.data());
  const std::int64_t v_dim = table.v_dim();
  for (std::int64_t p = 0; p < picks.size(); ++p) {
    std::memcpy(to + p * v_dim, table.hi + picks.as<std::int32_t>()[p] * v_dim,
                static_cast<std::size_t>(2 * v_dim));
  }
}

}  // namespace memengine::ladders
