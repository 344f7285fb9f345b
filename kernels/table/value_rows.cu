// The value table's storage on the GPU, in device memory or in host memory that the GPU maps.
//
// The gather is a persistent grid over the sorted list of unique rows: a team of threads (16 for
// 128 BF16 values) reads a row 16 bytes per thread, and has four rows in flight at once, because
// what counts is the number of requests under way, over the link above all. Neighbouring teams take
// neighbouring rows of the sorted list, which is the order address translation likes.
#include "kernels/table/value_rows.h"

#include "kernels/runtime/philox.h"
#include "kernels/table/table_grid.cuh"

namespace memengine::cuda {
namespace {

constexpr int rows_in_flight = 4;

// Where a gather finds the rows of a list.
struct Sources {
  Table table;  // hi is null where only newer copies are asked for
  Table newer;
  const std::int32_t* rows;
  const std::int32_t* count;
  const std::int32_t* places;  // of newer copies; may be null
  const std::int32_t* begin;   // where the list begins; null: 0
};

template <int width, bool full_precision, bool decayed, typename Out>
__global__ void __launch_bounds__(table_threads)
    gather_kernel(Out* out, Sources from, const double* log_decay, const std::int32_t* step,
                  int team) {
  const int count = *from.count;
  const int begin = from.begin == nullptr ? 0 : *from.begin;
  const int v_dim = from.table.v_dim;
  const int member = static_cast<int>(threadIdx.x) % team;
  const int teams_per_block = table_threads / team;
  const int teams = static_cast<int>(gridDim.x) * teams_per_block;
  const int pieces = v_dim / width;
  double log_decay_now = 0;
  if constexpr (decayed) log_decay_now = log_decay[*step];

  for (std::int64_t first =
           begin + static_cast<std::int64_t>(blockIdx.x) * teams_per_block + threadIdx.x / team;
       first < count; first += std::int64_t{rows_in_flight} * teams) {
    const std::uint16_t* row[rows_in_flight];
    const std::byte* record[rows_in_flight];
    float factor[rows_in_flight];
#pragma unroll
    for (int i = 0; i < rows_in_flight; ++i) {
      const std::int64_t u = first + std::int64_t{i} * teams;
      row[i] = nullptr;
      factor[i] = 1;
      if (u >= count) continue;
      const std::int64_t place = from.places == nullptr ? -1 : from.places[u];
      if (place >= 0) {
        row[i] = from.newer.hi + place * v_dim;
        record[i] = from.newer.records + place * from.table.record_bytes;
      } else if (from.table.hi != nullptr) {
        const std::int64_t number = from.rows[u];
        row[i] = from.table.hi + number * v_dim;
        record[i] = from.table.records + number * from.table.record_bytes;
      }
    }
    if constexpr (decayed) {
      std::uint32_t last_step[rows_in_flight];
#pragma unroll
      for (int i = 0; i < rows_in_flight; ++i) {
        if (row[i] == nullptr) continue;
        last_step[i] = *reinterpret_cast<const std::uint32_t*>(record[i] + from.table.step_offset);
      }
#pragma unroll
      for (int i = 0; i < rows_in_flight; ++i) {
        if (row[i] == nullptr) continue;
        factor[i] = static_cast<float>(exp(log_decay_now - log_decay[last_step[i]]));
      }
    }
    for (int piece = member; piece < pieces; piece += team) {
      Pack<std::uint16_t, width> hi[rows_in_flight];
      Pack<std::uint16_t, width> lo[rows_in_flight];
#pragma unroll
      for (int i = 0; i < rows_in_flight; ++i) {
        if (row[i] == nullptr) continue;
        hi[i] = load<width>(row[i] + piece * width);
        if constexpr (full_precision) {
          lo[i] = load<width>(reinterpret_cast<const std::uint16_t*>(record[i]) + piece * width);
        }
      }
#pragma unroll
      for (int i = 0; i < rows_in_flight; ++i) {
        if (row[i] == nullptr) continue;
        float x[width];
#pragma unroll
        for (int j = 0; j < width; ++j) {
          x[j] = join_float(hi[i].element[j], full_precision ? lo[i].element[j] : 0) * factor[i];
        }
        store(out + (first + std::int64_t{i} * teams) * v_dim + piece * width, x);
      }
    }
  }
}

// A team writes one row: weights in groups of four columns (width 4, one Philox block), or column
// by column where rows do not begin at a block.
template <int width>
__global__ void __launch_bounds__(table_threads)
    initialize_kernel(Table table, std::int64_t first, std::int64_t count, std::uint64_t seed,
                      std::uint64_t stream, float deviation) {
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const std::int64_t warps = std::int64_t{gridDim.x} * (table_threads / warp_size);
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * (table_threads / warp_size) +
                        threadIdx.x / warp_size;
       i < count; i += warps) {
    const std::int64_t row = first + i;
    std::byte* record = table.records + row * table.record_bytes;
    auto* lo = reinterpret_cast<std::uint16_t*>(record);
    std::uint16_t* hi = table.hi + row * table.v_dim;
    for (int column = lane * width; column < table.v_dim; column += warp_size * width) {
      const std::uint64_t element =
          static_cast<std::uint64_t>(table.row_of(row) * table.v_dim + column);
      float normal[4];
      philox_normal4(seed, stream, element / 4, normal);
      Pack<std::uint16_t, width> upper;
      Pack<std::uint16_t, width> lower;
#pragma unroll
      for (int j = 0; j < width; ++j) {
        float x = normal[j];
        if constexpr (width == 1) {
          const int place = static_cast<int>(element % 4);
          x = place == 0 ? normal[0] : place == 1 ? normal[1] : place == 2 ? normal[2] : normal[3];
        }
        const SplitFloat split = split_float(deviation * x);
        upper.element[j] = split.hi;
        lower.element[j] = split.lo;
      }
      *reinterpret_cast<Pack<std::uint16_t, width>*>(hi + column) = upper;
      *reinterpret_cast<Pack<std::uint16_t, width>*>(lo + column) = lower;
    }
    for (std::int64_t byte = table.v_dim * 2 + lane * 2; byte < table.m_offset;
         byte += warp_size * 2) {
      *reinterpret_cast<std::uint16_t*>(record + byte) = 0;
    }
    for (std::int64_t byte = table.m_offset + lane * 16; byte < table.record_bytes;
         byte += warp_size * 16) {
      *reinterpret_cast<uint4*>(record + byte) = make_uint4(0, 0, 0, 0);
    }
  }
}

void gather(const Context& context, Tensor out, const Sources& from, ValuePrecision precision,
            const LazyDecay& decay, unsigned blocks) {
  const bool decayed = !decay.log_decay.empty();
  const double* log_decay = decayed ? decay.log_decay.as<double>() : nullptr;
  const std::int32_t* step = decayed ? decay.step.as<std::int32_t>() : nullptr;
  const int v_dim = from.table.v_dim;
  dispatch_storage("gather_rows", out.dtype(), [&]<typename T>() {
    const auto launch = [&]<int width, bool full_precision, bool with_decay>() {
      gather_kernel<width, full_precision, with_decay>
          <<<blocks, table_threads, 0, context.stream>>>(out.as<T>(), from, log_decay, step,
                                                         row_team(v_dim / width));
    };
    const auto with_width = [&]<int width>() {
      if (precision == ValuePrecision::bf16) {
        if (decayed)
          launch.template operator()<width, false, true>();
        else
          launch.template operator()<width, false, false>();
      } else if (decayed) {
        launch.template operator()<width, true, true>();
      } else {
        launch.template operator()<width, true, false>();
      }
    };
    if (in_vectors<std::uint16_t>(v_dim, {from.table.hi, from.table.records, from.newer.hi,
                                          from.newer.records, out.data()}))
      with_width.template operator()<8>();
    else
      with_width.template operator()<1>();
  });
  MEMENGINE_LAUNCH_CHECK("gather_rows");
}

}  // namespace

void initialize_rows(const Context& context, const ValueRows& table, std::int64_t first,
                     std::int64_t count, std::uint64_t seed, std::uint64_t stream,
                     double deviation) {
  if (count == 0) return;
  const auto launch = [&]<int width>() {
    initialize_kernel<width><<<table_blocks(table.hi), table_threads, 0, context.stream>>>(
        table_of(table), first, count, seed, stream, static_cast<float>(deviation));
  };
  if (table.v_dim() % 4 == 0)
    launch.template operator()<4>();
  else
    launch.template operator()<1>();
  MEMENGINE_LAUNCH_CHECK("initialize_rows");
}

void gather_rows(const Context& context, Tensor out, const ValueRows& table,
                 const UniqueRows& unique, ValuePrecision precision, const LazyDecay& decay,
                 const NewerRows& newer, Tensor begin) {
  const Sources from = {table_of(table),
                        table_of(newer.rows),
                        unique.rows.as<std::int32_t>(),
                        unique.count.as<std::int32_t>(),
                        newer.places.empty() ? nullptr : newer.places.as<std::int32_t>(),
                        begin.empty() ? nullptr : begin.as<std::int32_t>()};
  gather(context, out, from, precision, decay, table_blocks(table.hi));
}

void gather_newer_rows(const Context& context, Tensor out, const NewerRows& newer,
                       const UniqueRows& unique, ValuePrecision precision, const LazyDecay& decay) {
  Sources from = {table_of(newer.rows),
                  table_of(newer.rows),
                  unique.rows.as<std::int32_t>(),
                  unique.count.as<std::int32_t>(),
                  newer.places.as<std::int32_t>(),
                  nullptr};
  from.table.hi = nullptr;
  gather(context, out, from, precision, decay, table_blocks(newer.rows.hi));
}

}  // namespace memengine::cuda
