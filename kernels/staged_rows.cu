// Staging on the GPU: who goes, stays and comes by binary searches and two scans, then one kernel
// of copies between mapped host memory and GPU memory.
//
// The rows' bytes are dealt out as one long list of 16-byte pieces, so that the threads of a warp
// move neighbouring bytes whatever the length of a row, and every thread has four pieces of the
// table under way. Who reads a piece of the table for a row that comes also writes the piece of the
// row that goes: nobody waits for a place, and both directions of the link have the same to do.
//
// Warps take their shares from one counter. A few blocks run beside the kernels of another stream;
// they take as few multiprocessors as they can (link_copy_blocks) and may be slow. When that stream
// has nothing left to do but the update, a second launch takes what is left, with all the blocks
// that the link has use for.
#include "kernels/staged_rows.h"

#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/tabulate_output_iterator.h>
#include <thrust/iterator/transform_iterator.h>
#include <cub/device/device_scan.cuh>

#include "engine/runtime/runtime.h"
#include "kernels/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr int threads = 256;
constexpr int pieces_in_flight = 4;

// Rows in ascending order, and how many. `places` may be none.
struct RowList {
  const std::int32_t* rows;
  const std::int32_t* places;
  const std::int32_t* count;
};

// The number of `row` in the list's first `count` rows, or -1.
__device__ __forceinline__ std::int32_t find(const std::int32_t* rows, std::int32_t count,
                                             std::int32_t row) {
  std::int32_t low = 0;
  std::int32_t high = count;
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    if (rows[middle] < row)
      low = middle + 1;
    else
      high = middle;
  }
  return low < count && rows[low] == row ? low : -1;
}

__global__ void __launch_bounds__(threads)
    empty_kernel(std::int32_t* places, std::int32_t* count, std::int32_t capacity) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  if (i < capacity) places[i] = i;
  if (i == 0) *count = 0;
}

__global__ void __launch_bounds__(threads)
    find_kernel(std::int32_t* newer, RowList area, RowList list) {
  const int u = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  if (u >= *list.count) return;
  const std::int32_t i = find(area.rows, *area.count, list.rows[u]);
  newer[u] = i < 0 ? -1 : area.places[i];
}

// --- Who goes, stays and comes -------------------------------------------------------------------

// StagedRows::moves.
struct Moves {
  std::int32_t coming, going;
  std::uint32_t next_share;
};

RowList list_of(const StagedRows& staged) {
  return {staged.rows.as<std::int32_t>(), staged.places.as<std::int32_t>(),
          staged.count.as<std::int32_t>()};
}

RowList list_of(const UniqueRows& unique) {
  return {unique.rows.as<std::int32_t>(), nullptr, unique.count.as<std::int32_t>()};
}

// The lists of an exchange, and what it takes to make them. S places, lists of L rows.
struct Exchange {
  std::int32_t* coming_rows = nullptr;  // [S]
  std::int32_t* coming_places = nullptr;
  std::int32_t* going_rows = nullptr;  // [S]
  std::int32_t* going_places = nullptr;
  Moves* moves = nullptr;
  std::int32_t* found = nullptr;   // [L]: the number in the area of the list's row, or -1
  std::int32_t* leaves = nullptr;  // [S]: 1 where the area's row is not in the list
  std::int32_t* rows = nullptr;    // [S]: the area's rows and places afterwards
  std::int32_t* places = nullptr;
  std::int32_t* count = nullptr;

  Exchange() = default;
  explicit Exchange(const StagedRows& staged)
      : coming_rows(staged.coming.as<std::int32_t>()),
        coming_places(coming_rows + staged.capacity()),
        going_rows(staged.going.as<std::int32_t>()),
        going_places(going_rows + staged.capacity()),
        moves(reinterpret_cast<Moves*>(staged.moves.as<std::int32_t>())) {}
  Exchange(const StagedRows& staged, Scratch& scratch, std::int64_t listed) : Exchange(staged) {
    found = scratch.take<std::int32_t>(listed);
    leaves = scratch.take<std::int32_t>(staged.capacity());
    rows = scratch.take<std::int32_t>(staged.capacity());
    places = scratch.take<std::int32_t>(staged.capacity());
    count = scratch.take<std::int32_t>(1);
  }
};

__global__ void __launch_bounds__(threads)
    match_kernel(Exchange exchange, RowList area, RowList list) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  const std::int32_t before = *area.count;
  const std::int32_t length = *list.count;
  if (i == 0) *exchange.moves = {0, 0, 0};
  if (i < length) exchange.found[i] = find(area.rows, before, list.rows[i]);
  if (i < before) exchange.leaves[i] = find(list.rows, length, area.rows[i]) < 0 ? 1 : 0;
}

struct Misses {
  const std::int32_t* found;
  const std::int32_t* length;

  __device__ std::int32_t operator()(std::int32_t u) const {
    return u < *length && found[u] < 0 ? 1 : 0;
  }
};

// The i-th place for a row that comes: those that rows leave, then those that were free.
__device__ __forceinline__ std::int32_t free_place(const Exchange& exchange, const RowList& area,
                                                   std::int32_t i) {
  const std::int32_t going = exchange.moves->going;
  return i < going ? exchange.going_places[i] : area.places[*area.count + i - going];
}

// Takes, for each row u of the list, how many rows up to and including u are not in the area. Runs
// when it is known who goes.
struct PlaceListed {
  Exchange exchange;
  RowList area;
  RowList list;
  std::int32_t* listed;
  std::int32_t capacity;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t misses) const {
    const auto u = static_cast<std::int32_t>(index);
    const std::int32_t length = *list.count;
    if (u >= length) return;
    const std::int32_t free = capacity - *area.count + exchange.moves->going;
    const std::int32_t number = exchange.found[u];
    const bool stays = number >= 0;
    const std::int32_t miss = misses - (stays ? 0 : 1);  // its rank, or how many are before it
    if (!stays && miss >= free) {
      listed[length - 1 - (miss - free)] = u;
    } else {
      const std::int32_t i = u - max(0, miss - free);
      const std::int32_t place = stays ? area.places[number] : free_place(exchange, area, miss);
      exchange.rows[i] = list.rows[u];
      exchange.places[i] = place;
      listed[i] = u;
      if (!stays) {
        exchange.coming_rows[miss] = list.rows[u];
        exchange.coming_places[miss] = place;
      }
    }
    if (u == length - 1) exchange.moves->coming = min(misses, free);
  }
};

struct Leaves {
  const std::int32_t* leaves;
  const std::int32_t* before;

  __device__ std::int32_t operator()(std::int32_t i) const { return i < *before ? leaves[i] : 0; }
};

// Takes, for each row i of the area, how many up to and including i leave.
struct ListGoing {
  Exchange exchange;
  RowList area;

  template <typename Index>
  __device__ void operator()(Index index, std::int32_t leaving) const {
    const auto i = static_cast<std::int32_t>(index);
    const std::int32_t before = *area.count;
    if (i >= before) return;
    if (exchange.leaves[i] != 0) {
      exchange.going_rows[leaving - 1] = area.rows[i];
      exchange.going_places[leaving - 1] = area.places[i];
    }
    if (i == before - 1) exchange.moves->going = leaving;
  }
};

// The area's rows, and the free places behind those of the rows.
__global__ void __launch_bounds__(threads)
    renew_kernel(Exchange exchange, RowList area, std::int32_t* rows, std::int32_t capacity) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  const std::int32_t coming = exchange.moves->coming;
  const std::int32_t after = *area.count - exchange.moves->going + coming;
  if (i == 0) *exchange.count = after;
  if (i >= capacity) return;
  if (i < after)
    rows[i] = exchange.rows[i];
  else
    exchange.places[i] = free_place(exchange, area, coming + i - after);
}

template <typename Input, typename Write>
cudaError_t scan(void* temporary, std::size_t& bytes, const Input& input, const Write& write,
                 std::int64_t size, cudaStream_t stream) {
  return cub::DeviceScan::InclusiveSum(
      temporary, bytes, thrust::make_transform_iterator(thrust::make_counting_iterator(0), input),
      thrust::make_tabulate_output_iterator(write), static_cast<std::int32_t>(size), stream);
}

std::size_t scan_bytes(std::int64_t capacity, std::int64_t listed) {
  std::size_t of_list = 0;
  std::size_t of_area = 0;
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_list, Misses{}, PlaceListed{}, listed, nullptr));
  MEMENGINE_CUDA_CHECK(scan(nullptr, of_area, Leaves{}, ListGoing{}, capacity, nullptr));
  return std::max(of_list, of_area);
}

// --- Copies --------------------------------------------------------------------------------------

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

// One piece of a row: in the table and in the area.
template <typename Piece>
__device__ __forceinline__ Piece* in_table(const Homes<Piece>& homes, std::int64_t row,
                                           std::uint32_t p) {
  return p < homes.hi_pieces ? homes.table_hi + row * homes.hi_pieces + p
                             : homes.table_records + row * (homes.row_pieces - homes.hi_pieces) +
                                   (p - homes.hi_pieces);
}

template <typename Piece>
__device__ __forceinline__ Piece* in_area(const Homes<Piece>& homes, std::int64_t place,
                                          std::uint32_t p) {
  return p < homes.hi_pieces ? homes.area_hi + place * homes.hi_pieces + p
                             : homes.area_records + place * (homes.row_pieces - homes.hi_pieces) +
                                   (p - homes.hi_pieces);
}

// What a warp takes from the counter: some rounds of its lanes' pieces.
constexpr std::uint32_t rounds_of_share = 8;
constexpr std::uint32_t share_pieces = rounds_of_share * pieces_in_flight * warp_size;

template <typename Piece>
__global__ void __launch_bounds__(link_copy_threads)
    exchange_kernel(Homes<Piece> homes, Exchange exchange) {
  const std::uint32_t lane = threadIdx.x % warp_size;
  const auto coming = static_cast<std::uint32_t>(exchange.moves->coming);
  const auto going = static_cast<std::uint32_t>(exchange.moves->going);
  // The list of pieces is shorter than 2^32 (homes_of): 64-bit divisions would be slow.
  const std::uint64_t pieces = std::uint64_t{max(coming, going)} * homes.row_pieces;
  while (true) {
    std::uint32_t share = 0;
    if (lane == 0) share = atomicAdd(&exchange.moves->next_share, 1u);
    share = __shfl_sync(~0u, share, 0);
    if (std::uint64_t{share} * share_pieces >= pieces) return;
    for (std::uint32_t round = 0; round < rounds_of_share; ++round) {
      const std::uint64_t first = std::uint64_t{share} * share_pieces +
                                  round * pieces_in_flight * warp_size + lane;
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
          to_area[i] = in_area(homes, exchange.coming_places[u], p);
          comes[i] = *in_table(homes, exchange.coming_rows[u], p);
        }
        if (at < pieces && u < going) {
          to_table[i] = in_table(homes, exchange.going_rows[u], p);
          from_area[i] = in_area(homes, exchange.going_places[u], p);
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

// All rows of the area.
template <typename Piece>
__global__ void __launch_bounds__(link_copy_threads)
    store_kernel(Homes<Piece> homes, RowList area) {
  const std::uint64_t pieces = static_cast<std::uint64_t>(*area.count) * homes.row_pieces;
  const std::uint32_t stride = gridDim.x * link_copy_threads;
  for (std::uint64_t at = blockIdx.x * link_copy_threads + threadIdx.x; at < pieces; at += stride) {
    const std::uint32_t i = static_cast<std::uint32_t>(at) / homes.row_pieces;
    const std::uint32_t p = static_cast<std::uint32_t>(at) - i * homes.row_pieces;
    *in_table(homes, area.rows[i], p) = *in_area(homes, area.places[i], p);
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

void empty_staging(const Context& context, const StagedRows& staged) {
  empty_kernel<<<grid_size(ceil_divide(staged.capacity(), threads)), threads, 0, context.stream>>>(
      staged.places.as<std::int32_t>(), staged.count.as<std::int32_t>(),
      static_cast<std::int32_t>(staged.capacity()));
  MEMENGINE_LAUNCH_CHECK("empty_staging");
}

void find_staged(const Context& context, Tensor newer, const StagedRows& staged,
                 const UniqueRows& unique) {
  find_kernel<<<grid_size(ceil_divide(unique.capacity(), threads)), threads, 0, context.stream>>>(
      newer.as<std::int32_t>(), list_of(staged), list_of(unique));
  MEMENGINE_LAUNCH_CHECK("find_staged");
}

void plan_exchange(const Context& context, const StagedRows& staged, const UniqueRows& unique) {
  const std::int64_t capacity = staged.capacity();
  const std::int64_t longest = unique.capacity();
  Scratch scratch(context);
  const Exchange exchange(staged, scratch, longest);
  std::size_t bytes = scan_bytes(capacity, longest);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  const RowList area = list_of(staged);
  const RowList list = list_of(unique);

  match_kernel<<<grid_size(ceil_divide(std::max(capacity, longest), threads)), threads, 0,
                 context.stream>>>(exchange, area, list);
  MEMENGINE_LAUNCH_CHECK("plan_exchange: match");
  MEMENGINE_CUDA_CHECK(scan(temporary, bytes, Leaves{exchange.leaves, area.count},
                            ListGoing{exchange, area}, capacity, context.stream));
  const PlaceListed place{exchange, area, list, staged.listed.as<std::int32_t>(),
                          static_cast<std::int32_t>(capacity)};
  MEMENGINE_CUDA_CHECK(
      scan(temporary, bytes, Misses{exchange.found, list.count}, place, longest, context.stream));
  renew_kernel<<<grid_size(ceil_divide(capacity, threads)), threads, 0, context.stream>>>(
      exchange, area, staged.rows.as<std::int32_t>(), static_cast<std::int32_t>(capacity));
  MEMENGINE_LAUNCH_CHECK("plan_exchange: renew");
  copy_bytes(context, staged.places.data(), exchange.places, capacity * 4);
  copy_bytes(context, staged.count.data(), exchange.count, 4);
}

std::int64_t plan_exchange_scratch_bytes(std::int64_t places, std::int64_t listed) {
  return scratch_part<std::int32_t>(listed) + 3 * scratch_part<std::int32_t>(places) +
         scratch_part<std::int32_t>(1) +
         scratch_part<std::byte>(static_cast<std::int64_t>(scan_bytes(places, listed)));
}

void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   ExchangePace pace) {
  const int blocks = pace == ExchangePace::alone ? host_table_blocks : link_copy_blocks;
  in_pieces(table, staged.values, [&]<typename Piece>(const Homes<Piece>& homes) {
    exchange_kernel<<<blocks, link_copy_threads, 0, context.stream>>>(homes, Exchange(staged));
  });
  MEMENGINE_LAUNCH_CHECK("exchange_rows");
}

void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged) {
  in_pieces(table, staged.values, [&]<typename Piece>(const Homes<Piece>& homes) {
    store_kernel<<<host_table_blocks, link_copy_threads, 0, context.stream>>>(homes,
                                                                              list_of(staged));
  });
  MEMENGINE_LAUNCH_CHECK("store_rows");
}

}  // namespace memengine::cuda
