// Reading the owners' answers on CUDA: rows are copied as they are, 16 bytes at a time where they
// allow it, several rows of every thread under way (peer_rows.cu says why). The numbers of
// neighbours in the list stand side by side, and come in whole lines.
#include <algorithm>
#include <cstdint>

#include "kernels/device_math.cuh"
#include "kernels/table/spread/peer_answers.h"
#include "kernels/table/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr int answers_in_flight = 4;

// One thread for each owner.
__global__ void __launch_bounds__(32)
    bases_kernel(std::int32_t* bases, const __grid_constant__ PeerAddresses counts_of, int rank) {
  const int owner = static_cast<int>(threadIdx.x);
  if (owner >= counts_of.size) return;
  const auto listed = [&](int of_rank, int at) {
    return static_cast<const std::int32_t*>(counts_of.of[of_rank])[at];
  };
  std::int32_t in_requests = 0;
  std::int32_t in_list = 0;
  for (int before = 0; before < rank; ++before) in_requests += listed(before, owner);
  for (int before = 0; before < owner; ++before) in_list += listed(rank, before);
  bases[2 * owner] = in_requests;
  bases[2 * owner + 1] = in_list;
}

// A row is `pieces` units of memory.
template <typename Unit>
__global__ void __launch_bounds__(table_threads)
    answers_kernel(Unit* out, const __grid_constant__ PeerAddresses rows_of,
                   const __grid_constant__ PeerAddresses numbers_of, const std::int32_t* bases,
                   int pieces, const std::int32_t* list, const std::int32_t* size,
                   std::int32_t part, int team) {
  const int count = *size;
  const int member = static_cast<int>(threadIdx.x) % team;
  const int teams_per_block = table_threads / team;
  const int teams = static_cast<int>(gridDim.x) * teams_per_block;
  for (std::int64_t first =
           static_cast<std::int64_t>(blockIdx.x) * teams_per_block + threadIdx.x / team;
       first < count; first += std::int64_t{answers_in_flight} * teams) {
    const Unit* row[answers_in_flight];
#pragma unroll
    for (int i = 0; i < answers_in_flight; ++i) {
      const std::int64_t u = first + std::int64_t{i} * teams;
      row[i] = nullptr;
      if (u >= count) continue;
      const std::int32_t owner = list[u] / part;
      const std::int64_t request = bases[2 * owner] + u - bases[2 * owner + 1];
      const std::int32_t number = static_cast<const std::int32_t*>(numbers_of.of[owner])[request];
      row[i] = static_cast<const Unit*>(rows_of.of[owner]) + std::int64_t{number} * pieces;
    }
    for (int piece = member; piece < pieces; piece += team) {
      Unit read[answers_in_flight];
#pragma unroll
      for (int i = 0; i < answers_in_flight; ++i) {
        if (row[i] != nullptr) read[i] = row[i][piece];
      }
#pragma unroll
      for (int i = 0; i < answers_in_flight; ++i) {
        if (row[i] != nullptr) out[(first + std::int64_t{i} * teams) * pieces + piece] = read[i];
      }
    }
  }
}

}  // namespace

void find_bases(const Context& context, Tensor bases, const PeerAddresses& counts,
                std::int64_t rank) {
  bases_kernel<<<1, warp_size, 0, context.stream>>>(bases.as<std::int32_t>(), counts,
                                                    static_cast<int>(rank));
  MEMENGINE_LAUNCH_CHECK("find_bases");
}

void read_answers(const Context& context, Tensor out, const PeerAddresses& rows,
                  const PeerAddresses& numbers, Tensor bases, const UniqueRows& list,
                  const RowOwners& owners) {
  const std::int64_t row_bytes = out.dim(1) * element_bytes(out.dtype());
  const auto fits = [&](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  };
  const bool aligned =
      row_bytes % 16 == 0 && fits(out.data()) && std::all_of(rows.of, rows.of + rows.size, fits);
  const auto launch = [&]<typename Unit>() {
    const auto pieces = static_cast<int>(row_bytes / static_cast<std::int64_t>(sizeof(Unit)));
    answers_kernel<Unit><<<table_blocks(out.data()), table_threads, 0, context.stream>>>(
        static_cast<Unit*>(out.data()), rows, numbers, bases.as<std::int32_t>(), pieces,
        list.rows.as<std::int32_t>(), list.count.as<std::int32_t>(),
        static_cast<std::int32_t>(owners.part()), row_team(pieces));
  };
  if (aligned)
    launch.template operator()<uint4>();
  else
    launch.template operator()<std::uint16_t>();
  MEMENGINE_LAUNCH_CHECK("read_answers");
}

}  // namespace memengine::cuda
