// Staging on the GPU: copies between mapped host memory and GPU memory, 16 bytes a thread.
//
// The rows' bytes are dealt out as one long list of pieces, so that the threads of a warp move
// neighbouring bytes whatever the length of a row, and every thread has four pieces under way. A
// few blocks keep the link busy; they run beside the kernels of another stream for a long time, so
// they take as few multiprocessors as they can (link_copy_blocks).
#include "kernels/staged_rows.h"

#include "kernels/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr int pieces_in_flight = 4;

__global__ void __launch_bounds__(link_copy_threads)
    list_kernel(std::int32_t* staged_rows, std::int32_t* staged_count, const std::int32_t* rows,
                const std::int32_t* count, std::int32_t capacity) {
  const int listed = min(*count, capacity);
  if (blockIdx.x == 0 && threadIdx.x == 0) *staged_count = listed;
  for (int u = static_cast<int>(blockIdx.x * link_copy_threads + threadIdx.x); u < listed;
       u += static_cast<int>(gridDim.x * link_copy_threads)) {
    staged_rows[u] = rows[u];
  }
}

// Piece p of place u stands at places[u * row_pieces + p], and at table[rows[u] * row_pieces + p].
template <bool to_table, typename Piece>
__global__ void __launch_bounds__(link_copy_threads)
    copy_kernel(Piece* table, Piece* places, const std::int32_t* rows, const std::int32_t* count,
                std::uint32_t row_pieces) {
  const std::uint64_t pieces = static_cast<std::uint64_t>(*count) * row_pieces;
  const std::uint32_t stride = gridDim.x * link_copy_threads;
  for (std::uint64_t first = blockIdx.x * link_copy_threads + threadIdx.x; first < pieces;
       first += std::uint64_t{pieces_in_flight} * stride) {
    Piece piece[pieces_in_flight];
    Piece* row_piece[pieces_in_flight];
#pragma unroll
    for (int i = 0; i < pieces_in_flight; ++i) {
      const std::uint64_t place = first + std::uint64_t{stride} * i;
      if (place >= pieces) continue;
      // The list of pieces is shorter than 2^32 (copy_rows): a 64-bit division would be slow.
      const std::uint32_t u = static_cast<std::uint32_t>(place) / row_pieces;
      const std::uint32_t p = static_cast<std::uint32_t>(place) - u * row_pieces;
      row_piece[i] = table + static_cast<std::int64_t>(rows[u]) * row_pieces + p;
      piece[i] = to_table ? places[place] : *row_piece[i];
    }
#pragma unroll
    for (int i = 0; i < pieces_in_flight; ++i) {
      const std::uint64_t place = first + std::uint64_t{stride} * i;
      if (place >= pieces) continue;
      if constexpr (to_table)
        *row_piece[i] = piece[i];
      else
        places[place] = piece[i];
    }
  }
}

template <bool to_table>
void copy_rows(const Context& context, void* table, void* places, const StagedRows& staged,
               std::int64_t row_bytes) {
  const auto launch = [&]<typename Piece>() {
    const std::int64_t row_pieces = row_bytes / static_cast<std::int64_t>(sizeof(Piece));
    if (staged.capacity() * row_pieces > 0xffffffff) {
      fail_internal("{} rows of {} bytes are too many for one staging area", staged.capacity(),
                    row_bytes);
    }
    copy_kernel<to_table><<<link_copy_blocks, link_copy_threads, 0, context.stream>>>(
        static_cast<Piece*>(table), static_cast<Piece*>(places), staged.rows.as<std::int32_t>(),
        staged.count.as<std::int32_t>(), static_cast<std::uint32_t>(row_pieces));
  };
  if (in_vectors<std::byte>(row_bytes, {table, places}))
    launch.template operator()<uint4>();
  else
    launch.template operator()<std::uint16_t>();
  MEMENGINE_LAUNCH_CHECK("staged rows");
}

template <bool to_table>
void copy_weights(const Context& context, const ValueRows& table, const StagedRows& staged) {
  copy_rows<to_table>(context, table.hi, staged.values.hi, staged, table.v_dim() * 2);
}

template <bool to_table>
void copy_records(const Context& context, const ValueRows& table, const StagedRows& staged) {
  copy_rows<to_table>(context, table.records, staged.values.records, staged, table.layout.bytes());
}

}  // namespace

void fetch_rows(const Context& context, const StagedRows& staged, const ValueRows& table,
                const UniqueRows& unique) {
  list_kernel<<<link_copy_blocks, link_copy_threads, 0, context.stream>>>(
      staged.rows.as<std::int32_t>(), staged.count.as<std::int32_t>(),
      unique.rows.as<std::int32_t>(), unique.count.as<std::int32_t>(),
      static_cast<std::int32_t>(staged.capacity()));
  MEMENGINE_LAUNCH_CHECK("fetch_rows");
  copy_weights<false>(context, table, staged);
  copy_records<false>(context, table, staged);
}

void store_weights(const Context& context, const ValueRows& table, const StagedRows& staged) {
  copy_weights<true>(context, table, staged);
}

void store_records(const Context& context, const ValueRows& table, const StagedRows& staged) {
  copy_records<true>(context, table, staged);
}

}  // namespace memengine::cuda
