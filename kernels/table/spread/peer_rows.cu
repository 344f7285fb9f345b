// Reading at other ranks on CUDA. What counts is the number of bytes under way: a read over NVLink
// takes about two microseconds, so every thread has several pieces of 16 bytes in flight, as in the
// gather of value_rows.cu.
//
// The sums run beside the backward pass on a stream of high priority. A part of the multiprocessors
// saturates the links, and they take no more.
#include "kernels/device_math.cuh"
#include "kernels/table/spread/peer_rows.h"
#include "kernels/table/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr int peer_rows_in_flight = 4;
constexpr int sum_blocks = 64;
constexpr int peer_pieces_in_flight = 4;

template <int width, bool full_precision, typename Out>
__global__ void __launch_bounds__(table_threads)
    gather_peers_kernel(Out* out, const __grid_constant__ PeerAddresses hi_of,
                        const __grid_constant__ PeerAddresses records_of, std::int64_t record_bytes,
                        int v_dim, const std::int32_t* numbers, const std::int32_t* size,
                        std::int32_t part, int team) {
  const int count = *size;
  const int member = static_cast<int>(threadIdx.x) % team;
  const int teams_per_block = table_threads / team;
  const int teams = static_cast<int>(gridDim.x) * teams_per_block;
  const int pieces = v_dim / width;
  for (std::int64_t first =
           static_cast<std::int64_t>(blockIdx.x) * teams_per_block + threadIdx.x / team;
       first < count; first += std::int64_t{peer_rows_in_flight} * teams) {
    const std::uint16_t* row[peer_rows_in_flight];
    const std::uint16_t* low[peer_rows_in_flight];
#pragma unroll
    for (int i = 0; i < peer_rows_in_flight; ++i) {
      const std::int64_t u = first + std::int64_t{i} * teams;
      row[i] = nullptr;
      low[i] = nullptr;
      if (u >= count) continue;
      const std::int32_t number = numbers[u];
      const std::int32_t owner = number / part;
      const std::int64_t place = number - owner * part;
      row[i] = static_cast<const std::uint16_t*>(hi_of.of[owner]) + place * v_dim;
      if constexpr (full_precision) {
        low[i] = reinterpret_cast<const std::uint16_t*>(
            static_cast<const std::byte*>(records_of.of[owner]) + place * record_bytes);
      }
    }
    for (int piece = member; piece < pieces; piece += team) {
      Pack<std::uint16_t, width> hi[peer_rows_in_flight];
      Pack<std::uint16_t, width> lo[peer_rows_in_flight];
#pragma unroll
      for (int i = 0; i < peer_rows_in_flight; ++i) {
        if (row[i] == nullptr) continue;
        hi[i] = load<width>(row[i] + piece * width);
        if constexpr (full_precision) lo[i] = load<width>(low[i] + piece * width);
      }
#pragma unroll
      for (int i = 0; i < peer_rows_in_flight; ++i) {
        if (row[i] == nullptr) continue;
        float x[width];
#pragma unroll
        for (int j = 0; j < width; ++j) {
          x[j] = join_float(hi[i].element[j], full_precision ? lo[i].element[j] : 0);
        }
        store(out + (first + std::int64_t{i} * teams) * v_dim + piece * width, x);
      }
    }
  }
}

// One thread for each rank.
__global__ void __launch_bounds__(warp_size)
    begins_kernel(std::int32_t* begins, std::int32_t* count,
                  const __grid_constant__ PeerAddresses counts_of, int owner) {
  const int rank = static_cast<int>(threadIdx.x);
  std::int32_t mine = 0;
  std::int32_t first = 0;
  if (rank < counts_of.size) {
    const auto* counts = static_cast<const std::int32_t*>(counts_of.of[rank]);
    for (int before = 0; before < owner; ++before) first += counts[before];
    mine = counts[owner];
  }
  std::int32_t through = mine;  // of the ranks up to this one
  for (int offset = 1; offset < warp_size; offset *= 2) {
    const std::int32_t lower = __shfl_up_sync(0xffffffffU, through, offset);
    if (rank >= offset) through += lower;
  }
  if (rank < counts_of.size) {
    begins[2 * rank] = through - mine;
    begins[2 * rank + 1] = first;
  }
  if (rank == warp_size - 1) *count = through;
}

// The last rank whose requests begin at or before q.
__device__ int rank_of(const std::int32_t* begins, int ranks, std::int32_t q) {
  int rank = 0;
  while (rank + 1 < ranks && q >= begins[2 * (rank + 1)]) ++rank;
  return rank;
}

__global__ void __launch_bounds__(table_threads)
    pull_kernel(std::int32_t* requests, std::int32_t size, const std::int32_t* count,
                const std::int32_t* begins, const __grid_constant__ PeerAddresses rows_of,
                std::int32_t part, std::int32_t first_number) {
  const std::int32_t known = *count;
  for (std::int32_t q = static_cast<std::int32_t>(blockIdx.x * table_threads + threadIdx.x);
       q < size; q += static_cast<std::int32_t>(gridDim.x * table_threads)) {
    if (q >= known) {
      requests[q] = part;
      continue;
    }
    const int rank = rank_of(begins, rows_of.size, q);
    requests[q] = static_cast<const std::int32_t*>(
                      rows_of.of[rank])[q - begins[2 * rank] + begins[2 * rank + 1]] -
                  first_number;
  }
}

__global__ void __launch_bounds__(1)
    drop_kernel(std::int32_t* count, const std::int32_t* rows, std::int32_t part) {
  if (*count > 0 && rows[*count - 1] == part) --*count;
}

// A warp sums a row after the other; blocks take rows in turns. partials[block]: squares.
template <int width>
__global__ void __launch_bounds__(table_threads)
    sum_kernel(float* out, double* partials, const __grid_constant__ PeerAddresses rows_of,
               const std::int32_t* begins, const std::int32_t* order, const std::int32_t* offsets,
               const std::int32_t* count, int v_dim) {
  constexpr int warps = table_threads / warp_size;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int warp = static_cast<int>(threadIdx.x) / warp_size;
  const int pieces = v_dim / width;
  double squares = 0;
  for (std::int64_t u = std::int64_t{blockIdx.x} * warps + warp; u < *count;
       u += std::int64_t{gridDim.x} * warps) {
    const std::int32_t begin = offsets[u];
    const std::int32_t end = offsets[u + 1];
    for (int first = lane; first < pieces; first += warp_size * peer_pieces_in_flight) {
      float sum[peer_pieces_in_flight][width] = {};
      int rank = 0;
      for (std::int32_t k = begin; k < end; ++k) {
        const std::int32_t q = order[k];
        while (rank + 1 < rows_of.size && q >= begins[2 * (rank + 1)]) ++rank;
        const float* row = static_cast<const float*>(rows_of.of[rank]) +
                           std::int64_t{q - begins[2 * rank] + begins[2 * rank + 1]} * v_dim;
        Pack<float, width> read[peer_pieces_in_flight];
#pragma unroll
        for (int i = 0; i < peer_pieces_in_flight; ++i) {
          const int piece = first + i * warp_size;
          if (piece < pieces) read[i] = load<width>(row + piece * width);
        }
#pragma unroll
        for (int i = 0; i < peer_pieces_in_flight; ++i) {
          if (first + i * warp_size >= pieces) continue;
#pragma unroll
          for (int j = 0; j < width; ++j) sum[i][j] += read[i].element[j];
        }
      }
#pragma unroll
      for (int i = 0; i < peer_pieces_in_flight; ++i) {
        const int piece = first + i * warp_size;
        if (piece >= pieces) continue;
        store(out + u * v_dim + piece * width, sum[i]);
#pragma unroll
        for (int j = 0; j < width; ++j) {
          squares += static_cast<double>(sum[i][j]) * static_cast<double>(sum[i][j]);
        }
      }
    }
  }
  __shared__ double of_warp[warps];
  squares = warp_sum(squares);
  if (lane == 0) of_warp[warp] = squares;
  __syncthreads();
  if (threadIdx.x == 0) {
    double all = 0;
    for (int i = 0; i < warps; ++i) all += of_warp[i];
    partials[blockIdx.x] = all;
  }
}

__global__ void __launch_bounds__(1) squares_kernel(double* square_sum, const double* partials) {
  double all = 0;
  for (int i = 0; i < sum_blocks; ++i) all += partials[i];
  *square_sum = all;
}

bool are_aligned(const PeerAddresses& addresses) {
  return std::all_of(addresses.of, addresses.of + addresses.size, [](const void* address) {
    return reinterpret_cast<std::uintptr_t>(address) % 16 == 0;
  });
}

}  // namespace

void gather_peer_rows(const Context& context, Tensor out, const PeerTable& table,
                      const UniqueRows& unique, const RowOwners& owners, ValuePrecision precision) {
  const auto v_dim = static_cast<int>(table.layout.v_dim);
  const bool aligned = are_aligned(table.hi) && are_aligned(table.records) &&
                       in_vectors<std::uint16_t>(v_dim, {out.data()});
  dispatch_storage("gather_peer_rows", out.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width, bool full_precision>() {
      gather_peers_kernel<width, full_precision>
          <<<table_blocks(out.data()), table_threads, 0, context.stream>>>(
              out.as<T>(), table.hi, table.records, table.layout.bytes(), v_dim,
              unique.rows.as<std::int32_t>(), unique.count.as<std::int32_t>(),
              static_cast<std::int32_t>(owners.part()), row_team(v_dim / width));
    };
    const auto with_width = [&]<int width>() {
      if (precision == ValuePrecision::fp32)
        launch.template operator()<width, true>();
      else
        launch.template operator()<width, false>();
    };
    if (aligned)
      with_width.template operator()<8>();
    else
      with_width.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("gather_peer_rows");
}

void pull_requests(const Context& context, Tensor requests, Tensor count, Tensor begins,
                   const PeerLists& lists, const RowOwners& owners, std::int64_t owner) {
  begins_kernel<<<1, warp_size, 0, context.stream>>>(
      begins.as<std::int32_t>(), count.as<std::int32_t>(), lists.counts, static_cast<int>(owner));
  MEMENGINE_LAUNCH_CHECK("pull_requests (begins)");
  const std::int64_t size = requests.size();
  const auto blocks = grid_size(std::min<std::int64_t>(ceil_divide(size, table_threads), 512));
  pull_kernel<<<blocks, table_threads, 0, context.stream>>>(
      requests.as<std::int32_t>(), static_cast<std::int32_t>(size), count.as<std::int32_t>(),
      begins.as<std::int32_t>(), lists.rows, static_cast<std::int32_t>(owners.part()),
      static_cast<std::int32_t>(owner * owners.part()));
  MEMENGINE_LAUNCH_CHECK("pull_requests");
}

void drop_padding(const Context& context, const UniqueRows& owned, const RowOwners& owners) {
  drop_kernel<<<1, 1, 0, context.stream>>>(owned.count.as<std::int32_t>(),
                                           owned.rows.as<std::int32_t>(),
                                           static_cast<std::int32_t>(owners.part()));
  MEMENGINE_LAUNCH_CHECK("drop_padding");
}

void sum_peer_rows(const Context& context, Tensor out, Tensor square_sum, const PeerAddresses& rows,
                   Tensor begins, const UniqueRows& owned) {
  Scratch scratch(context);
  double* partials = scratch.take<double>(sum_blocks);
  const auto v_dim = static_cast<int>(out.dim(1));
  const auto launch = [&]<int width>() {
    sum_kernel<width><<<sum_blocks, table_threads, 0, context.stream>>>(
        out.as<float>(), partials, rows, begins.as<std::int32_t>(), owned.order.as<std::int32_t>(),
        owned.offsets.as<std::int32_t>(), owned.count.as<std::int32_t>(), v_dim);
  };
  if (are_aligned(rows) && in_vectors<float>(v_dim, {out.data()}))
    launch.template operator()<4>();
  else
    launch.template operator()<1>();
  MEMENGINE_LAUNCH_CHECK("sum_peer_rows");
  squares_kernel<<<1, 1, 0, context.stream>>>(square_sum.as<double>(), partials);
  MEMENGINE_LAUNCH_CHECK("sum_peer_rows (squares)");
}

std::int64_t sum_peer_rows_scratch_bytes() {
  return scratch_part<double>(sum_blocks);
}

}  // namespace memengine::cuda
