// Staging on the GPU: who goes, stays and comes by binary searches and two scans, then one kernel
// of copies between mapped host memory and GPU memory.
//
// The rows' bytes are dealt out as one long list of 16-byte pieces, so that the threads of a warp
// move neighbouring bytes whatever the length of a row, and every thread has four pieces under way.
// A few blocks keep one direction of the link busy; half of the kernel's blocks fetch while the
// others store. They run beside the kernels of another stream for a long time, so they take as few
// multiprocessors as they can (link_copy_blocks).
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

// How many rows come and go, and how many are in the area then.
struct Numbers {
  std::int32_t coming, going, after;
};

// Working memory of an exchange. S places, lists of L rows.
struct Exchange {
  std::int32_t* found = nullptr;   // [L]: the number in the area of the list's row, or -1
  std::int32_t* leaves = nullptr;  // [S]: 1 where the area's row is not in the list
  std::int32_t* rows = nullptr;    // [S]: the area's rows and places afterwards
  std::int32_t* places = nullptr;
  std::int32_t* coming_rows = nullptr;  // [S]
  std::int32_t* coming_places = nullptr;
  std::int32_t* going_rows = nullptr;  // [S]
  std::int32_t* going_places = nullptr;
  Numbers* numbers = nullptr;

  Exchange() = default;
  Exchange(Scratch& scratch, std::int64_t capacity, std::int64_t listed)
      : found(scratch.take<std::int32_t>(listed)),
        leaves(scratch.take<std::int32_t>(capacity)),
        rows(scratch.take<std::int32_t>(capacity)),
        places(scratch.take<std::int32_t>(capacity)),
        coming_rows(scratch.take<std::int32_t>(capacity)),
        coming_places(scratch.take<std::int32_t>(capacity)),
        going_rows(scratch.take<std::int32_t>(capacity)),
        going_places(scratch.take<std::int32_t>(capacity)),
        numbers(scratch.take<Numbers>(1)) {}
  RowList coming() const { return {coming_rows, coming_places, &numbers->coming}; }
  RowList going() const { return {going_rows, going_places, &numbers->going}; }
};

__global__ void __launch_bounds__(threads)
    match_kernel(Exchange exchange, RowList area, RowList list) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  const std::int32_t before = *area.count;
  const std::int32_t length = *list.count;
  if (i == 0) *exchange.numbers = {0, 0, 0};
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

// Takes, for each row u of the list, how many rows up to and including u are not in the area.
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
    const std::int32_t before = *area.count;
    const std::int32_t free = capacity - before;
    const std::int32_t number = exchange.found[u];
    const bool stays = number >= 0;
    const std::int32_t miss = misses - (stays ? 0 : 1);  // its rank, or how many are before it
    if (!stays && miss >= free) {
      listed[length - 1 - (miss - free)] = u;
    } else {
      const std::int32_t i = u - max(0, miss - free);
      const std::int32_t place = area.places[stays ? number : before + miss];
      exchange.rows[i] = list.rows[u];
      exchange.places[i] = place;
      listed[i] = u;
      if (!stays) {
        exchange.coming_rows[miss] = list.rows[u];
        exchange.coming_places[miss] = place;
      }
    }
    if (u == length - 1) {
      exchange.numbers->coming = min(misses, free);
      exchange.numbers->after = length - max(0, misses - free);
    }
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
    if (i == before - 1) exchange.numbers->going = leaving;
  }
};

// The area's rows, and behind the places of the rows the free ones: those that are left over, then
// those of the rows that go.
__global__ void __launch_bounds__(threads)
    renew_kernel(Exchange exchange, RowList area, std::int32_t* rows, std::int32_t capacity) {
  const int i = static_cast<int>(blockIdx.x * threads + threadIdx.x);
  if (i >= capacity) return;
  const std::int32_t after = exchange.numbers->after;
  if (i < after) {
    rows[i] = exchange.rows[i];
    return;
  }
  const std::int32_t first_free = *area.count + exchange.numbers->coming;
  const std::int32_t left_over = capacity - first_free;
  const std::int32_t free = i - after;
  exchange.places[i] =
      free < left_over ? area.places[first_free + free] : exchange.going_places[free - left_over];
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

template <bool to_table, typename Piece>
__device__ __forceinline__ void copy_rows(const Homes<Piece>& homes, const RowList& list,
                                          std::uint32_t block, std::uint32_t blocks) {
  const std::uint64_t pieces = static_cast<std::uint64_t>(*list.count) * homes.row_pieces;
  const std::uint32_t record_pieces = homes.row_pieces - homes.hi_pieces;
  const std::uint32_t stride = blocks * link_copy_threads;
  for (std::uint64_t first = block * link_copy_threads + threadIdx.x; first < pieces;
       first += std::uint64_t{pieces_in_flight} * stride) {
    Piece piece[pieces_in_flight];
    Piece* target[pieces_in_flight];
#pragma unroll
    for (int i = 0; i < pieces_in_flight; ++i) {
      const std::uint64_t at = first + std::uint64_t{stride} * i;
      if (at >= pieces) continue;
      // The list of pieces is shorter than 2^32 (homes_of): a 64-bit division would be slow.
      const std::uint32_t u = static_cast<std::uint32_t>(at) / homes.row_pieces;
      const std::uint32_t p = static_cast<std::uint32_t>(at) - u * homes.row_pieces;
      const std::int64_t row = list.rows[u];
      const std::int64_t place = list.places[u];
      const bool is_hi = p < homes.hi_pieces;
      const std::int64_t in_row = is_hi ? p : p - homes.hi_pieces;
      const std::int64_t length = is_hi ? homes.hi_pieces : record_pieces;
      Piece* home = (is_hi ? homes.table_hi : homes.table_records) + row * length + in_row;
      Piece* area = (is_hi ? homes.area_hi : homes.area_records) + place * length + in_row;
      target[i] = to_table ? home : area;
      piece[i] = to_table ? *area : *home;
    }
#pragma unroll
    for (int i = 0; i < pieces_in_flight; ++i) {
      if (first + std::uint64_t{stride} * i < pieces) *target[i] = piece[i];
    }
  }
}

template <typename Piece>
__global__ void __launch_bounds__(link_copy_threads)
    exchange_kernel(Homes<Piece> homes, RowList coming, RowList going) {
  const std::uint32_t blocks = gridDim.x / 2;
  if (blockIdx.x < blocks)
    copy_rows<false>(homes, coming, blockIdx.x, blocks);
  else
    copy_rows<true>(homes, going, blockIdx.x - blocks, blocks);
}

template <typename Piece>
__global__ void __launch_bounds__(link_copy_threads)
    store_kernel(Homes<Piece> homes, RowList list) {
  copy_rows<true>(homes, list, blockIdx.x, gridDim.x);
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

RowList list_of(const StagedRows& staged) {
  return {staged.rows.as<std::int32_t>(), staged.places.as<std::int32_t>(),
          staged.count.as<std::int32_t>()};
}

RowList list_of(const UniqueRows& unique) {
  return {unique.rows.as<std::int32_t>(), nullptr, unique.count.as<std::int32_t>()};
}

void exchange_round(const Context& context, const StagedRows& staged, const ValueRows& table,
                    const UniqueRows& unique) {
  const std::int64_t capacity = staged.capacity();
  const std::int64_t longest = unique.capacity();
  Scratch scratch(context);
  const Exchange exchange(scratch, capacity, longest);
  std::size_t bytes = scan_bytes(capacity, longest);
  void* temporary = scratch.take_bytes(static_cast<std::int64_t>(bytes));
  const RowList area = list_of(staged);
  const RowList list = list_of(unique);

  match_kernel<<<grid_size(ceil_divide(std::max(capacity, longest), threads)), threads, 0,
                 context.stream>>>(exchange, area, list);
  MEMENGINE_LAUNCH_CHECK("exchange_rows: match");
  const PlaceListed place{exchange, area, list, staged.listed.as<std::int32_t>(),
                          static_cast<std::int32_t>(capacity)};
  MEMENGINE_CUDA_CHECK(
      scan(temporary, bytes, Misses{exchange.found, list.count}, place, longest, context.stream));
  MEMENGINE_CUDA_CHECK(scan(temporary, bytes, Leaves{exchange.leaves, area.count},
                            ListGoing{exchange, area}, capacity, context.stream));
  renew_kernel<<<grid_size(ceil_divide(capacity, threads)), threads, 0, context.stream>>>(
      exchange, area, staged.rows.as<std::int32_t>(), static_cast<std::int32_t>(capacity));
  MEMENGINE_LAUNCH_CHECK("exchange_rows: renew");
  copy_bytes(context, staged.places.data(), exchange.places, capacity * 4);
  copy_bytes(context, staged.count.data(), &exchange.numbers->after, 4);

  in_pieces(table, staged.values, [&]<typename Piece>(const Homes<Piece>& homes) {
    exchange_kernel<<<2 * link_copy_blocks, link_copy_threads, 0, context.stream>>>(
        homes, exchange.coming(), exchange.going());
  });
  MEMENGINE_LAUNCH_CHECK("exchange_rows: copy");
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

void exchange_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                   const UniqueRows& unique) {
  const int rounds = exchange_rounds(staged, table, unique.capacity());
  for (int round = 0; round < rounds; ++round) exchange_round(context, staged, table, unique);
}

std::int64_t exchange_rows_scratch_bytes(std::int64_t places, std::int64_t listed) {
  return scratch_part<std::int32_t>(listed) + 7 * scratch_part<std::int32_t>(places) +
         scratch_part<Numbers>(1) +
         scratch_part<std::byte>(static_cast<std::int64_t>(scan_bytes(places, listed)));
}

void store_rows(const Context& context, const ValueRows& table, const StagedRows& staged) {
  in_pieces(table, staged.values, [&]<typename Piece>(const Homes<Piece>& homes) {
    store_kernel<<<host_table_blocks, link_copy_threads, 0, context.stream>>>(homes,
                                                                              list_of(staged));
  });
  MEMENGINE_LAUNCH_CHECK("store_rows");
}

}  // namespace memengine::cuda
