// CPU reference of reading at other ranks: they are threads of this process then.
#include "kernels/table/spread/peer_rows.h"

#include <algorithm>

#include "kernels/dispatch.h"

namespace memengine {

PeerAddresses::PeerAddresses(const std::vector<void*>& addresses)
    : size(static_cast<int>(addresses.size())) {
  if (size > most_peers) fail_internal("{} ranks share memory, {} are the most", size, most_peers);
  std::copy(addresses.begin(), addresses.end(), of);
}

void gather_peer_rows(const Context& context, Tensor out, const PeerTable& table,
                      const UniqueRows& unique, const RowOwners& owners, ValuePrecision precision) {
  MEMENGINE_ON_CUDA(context,
                    cuda::gather_peer_rows(context, out, table, unique, owners, precision));
  const std::int64_t v_dim = table.layout.v_dim;
  const std::int64_t count = *unique.count.as<std::int32_t>();
  const auto* numbers = unique.rows.as<std::int32_t>();
  const auto hi_of = [&](std::int64_t u) {
    return static_cast<const std::uint16_t*>(table.hi.of[numbers[u] / owners.part()]) +
           numbers[u] % owners.part() * v_dim;
  };
  const auto lo_of = [&](std::int64_t u) {
    const auto* records =
        static_cast<const std::byte*>(table.records.of[numbers[u] / owners.part()]);
    return reinterpret_cast<const std::uint16_t*>(records + numbers[u] % owners.part() *
                                                                table.layout.bytes());
  };
  if (out.dtype() == DType::bf16) {
    for (std::int64_t u = 0; u < count; ++u) {
      std::copy_n(hi_of(u), v_dim, static_cast<std::uint16_t*>(out.data()) + u * v_dim);
    }
    return;
  }
  dispatch_floating(out.dtype(), [&]<typename T>() {
#pragma omp parallel for schedule(static)
    for (std::int64_t u = 0; u < count; ++u) {
      const std::uint16_t* hi = hi_of(u);
      const std::uint16_t* lo = precision == ValuePrecision::fp32 ? lo_of(u) : nullptr;
      T* row = out.as<T>() + u * v_dim;
      for (std::int64_t i = 0; i < v_dim; ++i) {
        row[i] = join_float(hi[i], lo == nullptr ? std::uint16_t{0} : lo[i]);
      }
    }
  });
}

void pull_requests(const Context& context, Tensor requests, Tensor count, Tensor begins,
                   const PeerLists& lists, const RowOwners& owners, std::int64_t owner) {
  MEMENGINE_ON_CUDA(context,
                    cuda::pull_requests(context, requests, count, begins, lists, owners, owner));
  auto* places = requests.as<std::int32_t>();
  auto* begin = begins.as<std::int32_t>();
  std::int32_t q = 0;
  for (std::int64_t r = 0; r < owners.ranks; ++r) {
    const auto* counts = static_cast<const std::int32_t*>(lists.counts.of[r]);
    const auto* numbers = static_cast<const std::int32_t*>(lists.rows.of[r]);
    std::int32_t first = 0;
    for (std::int64_t before = 0; before < owner; ++before) first += counts[before];
    begin[2 * r] = q;
    begin[2 * r + 1] = first;
    for (std::int32_t i = first; i < first + counts[owner]; ++i) {
      const std::int64_t place = numbers[i] - owner * owners.part();
      if (place < 0 || place >= owners.rows_of(owner)) {
        fail_internal("rank {} is asked for spread number {}, which is not its own", owner,
                      numbers[i]);
      }
      places[q++] = static_cast<std::int32_t>(place);
    }
  }
  *count.as<std::int32_t>() = q;
  std::fill(places + q, places + requests.size(), static_cast<std::int32_t>(owners.part()));
}

void drop_padding(const Context& context, const UniqueRows& owned, const RowOwners& owners) {
  MEMENGINE_ON_CUDA(context, cuda::drop_padding(context, owned, owners));
  std::int32_t& count = *owned.count.as<std::int32_t>();
  if (count > 0 && owned.rows.as<std::int32_t>()[count - 1] == owners.part()) --count;
}

void sum_peer_rows(const Context& context, Tensor out, Tensor square_sum, const PeerAddresses& rows,
                   Tensor begins, const UniqueRows& owned) {
  MEMENGINE_ON_CUDA(context, cuda::sum_peer_rows(context, out, square_sum, rows, begins, owned));
  const std::int64_t v_dim = out.dim(1);
  const auto* begin = begins.as<std::int32_t>();
  const auto* order = owned.order.as<std::int32_t>();
  const auto* offsets = owned.offsets.as<std::int32_t>();
  double squares = 0;
  dispatch_floating(out.dtype(), [&]<typename T>() {
    for (std::int64_t u = 0; u < *owned.count.as<std::int32_t>(); ++u) {
      T* sum = out.as<T>() + u * v_dim;
      std::fill_n(sum, v_dim, T{0});
      int rank = 0;
      for (std::int32_t k = offsets[u]; k < offsets[u + 1]; ++k) {
        const std::int32_t q = order[k];
        while (rank + 1 < rows.size && q >= begin[2 * (rank + 1)]) ++rank;
        const T* row = static_cast<const T*>(rows.of[rank]) +
                       (q - begin[2 * rank] + begin[2 * rank + 1]) * v_dim;
        for (std::int64_t i = 0; i < v_dim; ++i) sum[i] += row[i];
      }
      for (std::int64_t i = 0; i < v_dim; ++i) {
        squares += static_cast<double>(sum[i]) * static_cast<double>(sum[i]);
      }
    }
  });
  *square_sum.as<double>() = squares;
}

std::int64_t sum_peer_rows_scratch_bytes(Device device) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::sum_peer_rows_scratch_bytes();
  }
  return 0;
}

}  // namespace memengine
