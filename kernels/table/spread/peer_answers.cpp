// CPU reference of reading the owners' answers: the ranks are threads of this process then.
#include "kernels/table/spread/peer_answers.h"

#include <cstring>

#include "kernels/dispatch.h"

namespace memengine {

void find_bases(const Context& context, Tensor bases, const PeerAddresses& counts,
                std::int64_t rank) {
  MEMENGINE_ON_CUDA(context, cuda::find_bases(context, bases, counts, rank));
  const auto listed = [&](std::int64_t of_rank, std::int64_t owner) {
    return static_cast<const std::int32_t*>(counts.of[of_rank])[owner];
  };
  std::int32_t in_list = 0;
  for (std::int64_t owner = 0; owner < counts.size; ++owner) {
    std::int32_t in_requests = 0;
    for (std::int64_t before = 0; before < rank; ++before) in_requests += listed(before, owner);
    bases.as<std::int32_t>()[2 * owner] = in_requests;
    bases.as<std::int32_t>()[2 * owner + 1] = in_list;
    in_list += listed(rank, owner);
  }
}

void read_answers(const Context& context, Tensor out, const PeerAddresses& rows,
                  const PeerAddresses& numbers, Tensor bases, const UniqueRows& list,
                  const RowOwners& owners) {
  MEMENGINE_ON_CUDA(context, cuda::read_answers(context, out, rows, numbers, bases, list, owners));
  const auto row_bytes = static_cast<std::size_t>(out.dim(1) * element_bytes(out.dtype()));
  const auto* base = bases.as<std::int32_t>();
  for (std::int32_t u = 0; u < *list.count.as<std::int32_t>(); ++u) {
    const std::int64_t owner = list.rows.as<std::int32_t>()[u] / owners.part();
    const std::int32_t request = base[2 * owner] + u - base[2 * owner + 1];
    const auto answer =
        static_cast<std::size_t>(static_cast<const std::int32_t*>(numbers.of[owner])[request]);
    std::memcpy(static_cast<std::byte*>(out.data()) + static_cast<std::size_t>(u) * row_bytes,
                static_cast<const std::byte*>(rows.of[owner]) + answer * row_bytes, row_bytes);
  }
}

}  // namespace memengine
