// The copies of an exchange between mapped host memory and GPU memory, in one kernel; who goes and
// comes is in plan.cu.
//
// The rows' bytes are dealt out as one long list of 16-byte pieces, so that the threads of a warp
// move neighbouring bytes whatever the length of a row, and every thread has four pieces of the
// table under way. Who reads a piece of the table for a row that comes also writes the piece of the
// row that goes: nobody waits for a place, and both directions of the link have the same to do.
// Weights that a guest brought already come from there.
//
// Warps take their shares from one counter. A few blocks run beside the kernels of another stream;
// they take as few multiprocessors as they can (link_copy_blocks) and may be slow. When that stream
// has nothing left to do but the update, a second launch takes what is left, with all the blocks
// that the link has use for.
#include "kernels/table/staged_rows/staged_rows.cuh"
#include "kernels/table/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr int pieces_in_flight = 4;

// Table and area in pieces; a row's weights come before its record.
template <typename Piece>
struct Homes {
  Piece* table_hi;
  Piece* table_records;
  Piece* area_hi;
  Piece* area_records;
  std::uint32_t hi_pieces;
  std::uint32_t row_pieces;
};

// One piece of a row, of the table or of the area.
template <typename Piece>
__device__ __forceinline__ Piece* piece_at(const Homes<Piece>& homes, Piece* hi, Piece* records,
                                           std::int64_t row, std::uint32_t p) {
  if (p < homes.hi_pieces) return hi + row * homes.hi_pieces + p;
  return records + row * (homes.row_pieces - homes.hi_pieces) + (p - homes.hi_pieces);
}

template <typename Piece>
__device__ __forceinline__ Piece* in_table(const Homes<Piece>& homes, std::int64_t row,
                                           std::uint32_t p) {
  return piece_at(homes, homes.table_hi, homes.table_records, row, p);
}

template <typename Piece>
__device__ __forceinline__ Piece* in_area(const Homes<Piece>& homes, std::int64_t place,
                                          std::uint32_t p) {
  return piece_at(homes, homes.area_hi, homes.area_records, place, p);
}

// What a warp takes from the counter: some rounds of its lanes' pieces.
constexpr std::uint32_t rounds_of_share = 8;
constexpr std::uint32_t share_pieces = rounds_of_share * pieces_in_flight * warp_size;

template <typename Piece>
__global__ void __launch_bounds__(link_copy_threads)
    exchange_kernel(Homes<Piece> homes, Cache cache) {
  const std::uint32_t lane = threadIdx.x % warp_size;
  const auto coming = static_cast<std::uint32_t>(cache.moves->coming);
  const auto going = static_cast<std::uint32_t>(cache.moves->going);
  // The list of pieces is shorter than 2^32 (homes_of): 64-bit divisions would be slow.
  const std::uint64_t pieces = std::uint64_t{max(coming, going)} * homes.row_pieces;
  while (true) {
    std::uint32_t share = 0;
    if (lane == 0) share = atomicAdd(&cache.moves->next_share, 1u);
    share = __shfl_sync(~0u, share, 0);
    if (std::uint64_t{share} * share_pieces >= pieces) return;
    for (std::uint32_t round = 0; round < rounds_of_share; ++round) {
      const std::uint64_t first =
          std::uint64_t{share} * share_pieces + round * pieces_in_flight * warp_size + lane;
      Piece comes[pieces_in_flight];
      Piece goes[pieces_in_flight];
      Piece* from_area[pieces_in_flight];
      Piece* to_table[pieces_in_flight];
      Piece* to_area[pieces_in_flight];
#pragma unroll
      for (int i = 0; i < pieces_in_flight; ++i) {
        const std::uint64_t at = first + i * warp_size;
        const std::uint32_t u = static_cast<std::uint32_t>(at) / homes.row_pieces;
        const std::uint32_t p = static_cast<std::uint32_t>(at) - u * homes.row_pieces;
        to_area[i] = nullptr;
        to_table[i] = nullptr;
        if (at < pieces && u < coming) {
          to_area[i] = in_area(homes, cache.coming_places[u], p);
          const std::int32_t from = p < homes.hi_pieces ? cache.coming_from[u] : -1;
          comes[i] =
              from < 0 ? *in_table(homes, cache.coming_rows[u], p) : *in_area(homes, from, p);
        }
        if (at < pieces && u < going) {
          to_table[i] = in_table(homes, cache.going_rows[u], p);
          from_area[i] = in_area(homes, cache.going_places[u], p);
        }
      }
#pragma unroll
      for (int i = 0; i < pieces_in_flight; ++i) {
        if (to_table[i] != nullptr) goes[i] = *from_area[i];
      }
#pragma unroll
      for (int i = 0; i < pieces_in_flight; ++i) {
        if (to_table[i] != nullptr) *to_table[i] = goes[i];
      }
#pragma unroll
      for (int i = 0; i < pieces_in_flight; ++i) {
        if (to_area[i] != nullptr) *to_area[i] = comes[i];
      }
    }
  }
}

// All rows of the area, in the order of places.
template <typename Piece>
__global__ void __launch_bounds__(link_copy_threads) store_kernel(Homes<Piece> homes, Cache cache) {
  const std::uint64_t pieces = static_cast<std::uint64_t>(*cache.occupied) * homes.row_pieces;
  const std::uint32_t stride = gridDim.x * link_copy_threads;
  for (std::uint64_t at = blockIdx.x * link_copy_threads + threadIdx.x; at < pieces; at += stride) {
    const std::uint32_t i = static_cast<std::uint32_t>(at) / homes.row_pieces;
    const std::uint32_t p = static_cast<std::uint32_t>(at) - i * homes.row_pieces;
    *in_table(homes, cache.row_at[i], p) = *in_area(homes, i, p);
  }
}

template <typename Piece>
Homes<Piece> homes_of(const ValueRows& table, const ValueRows& area) {
  const auto pieces_of = [](void* address) { return static_cast<Piece*>(address); };
  const std::int64_t hi_pieces = table.v_dim() * 2 / static_cast<std::int64_t>(sizeof(Piece));
  const std::int64_t row_pieces =
      hi_pieces + table.layout.bytes() / static_cast<std::int64_t>(sizeof(Piece));
  if (area.rows * row_pieces > 0xffffffff) {
    fail_internal("{} rows of {} pieces are too many for one staging area", area.rows, row_pieces);
  }
  return {pieces_of(table.hi),
          pieces_of(table.records),
          pieces_of(area.hi),
          pieces_of(area.records),
          static_cast<std::uint32_t>(hi_pieces),
          static_cast<std::uint32_t>(row_pieces)};
}

// Calls body(homes) with the widest pieces that rows and addresses allow.
template <typename Body>
void in_pieces(const ValueRows& table, const ValueRows& area, Body&& body) {
  if (in_vectors<std::byte>(table.v_dim() * 2, {table.hi, table.records, area.hi, area.records}))
    body(homes_of<uint4>(table, area));
  else
    body(homes_of<std::uint16_t>(table, area));
}

}  // namespace

void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   ExchangePace pace) {
  const int blocks = pace == ExchangePace::alone ? host_table_blocks : link_copy_blocks;
  in_pieces(table, staged.values, [&]<typename Piece>(const Homes<Piece>& homes) {
    exchange_kernel<<<blocks, link_copy_threads, 0, context.stream>>>(homes, Cache(staged));
  });
  MEMENGINE_LAUNCH_CHECK("exchange_rows");
}

void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged) {
  in_pieces(table, staged.values, [&]<typename Piece>(const Homes<Piece>& homes) {
    store_kernel<<<host_table_blocks, link_copy_threads, 0, context.stream>>>(homes, Cache(staged));
  });
  MEMENGINE_LAUNCH_CHECK("store_rows");
}

}  // namespace memengine::cuda
