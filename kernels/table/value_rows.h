// The storage of a value table, as the kernels see it, and the gather from it.
//
// A row's FP32 weights are split in two 16-bit halves (bfloat16.h). The upper halves stand together
// in `hi`, a BF16 table that is all the forward pass reads and all that crosses the link then. What
// only the optimizer touches stands together too, one record per row: the lower halves, both Adam
// moments and the step of the last update. A record is read and written in one go, because the rate
// of random accesses, not bandwidth, limits a table in host memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/context.h"
#include "kernels/runtime/ranks/rank_place.h"
#include "kernels/table/deduplicate.h"

namespace memengine {

// Where the parts of one row's record stand. Bytes; every part is aligned to its element.
//   [ lo: v_dim x u16 | m: v_dim x (f32 | bf16) | v: likewise | last_step: u32 | padding to 16 ]
// With one second moment for the whole row, v is one f32; without moments there is neither m nor v.
// A table that is only read keeps `lo` alone.
struct RecordLayout {
  std::int64_t v_dim = 0;
  DType moments = DType::f32;  // f32 or bf16
  bool updated = true;         // false: no moments, no last step
  bool row_second_moment = false;
  bool has_moments = true;  // false: rows are updated by plain descent (optim/sparse_sgd)

  static constexpr std::int64_t align(std::int64_t bytes, std::int64_t to) {
    return (bytes + to - 1) / to * to;
  }
  constexpr std::int64_t m_offset() const { return align(2 * v_dim, 16); }
  constexpr std::int64_t v_offset() const {
    return m_offset() + align(first_moments() * element_bytes(moments), 16);
  }
  constexpr std::int64_t first_moments() const { return has_moments ? v_dim : 0; }
  constexpr std::int64_t second_moments() const {
    return row_second_moment && has_moments ? 1 : first_moments();
  }
  constexpr DType second_moment_dtype() const { return row_second_moment ? DType::f32 : moments; }
  constexpr std::int64_t step_offset() const {
    return v_offset() + align(second_moments() * element_bytes(second_moment_dtype()), 16);
  }
  // Of a row's weights in FP32, moments and last step, without padding: what a checkpoint has of
  // it.
  constexpr std::int64_t state_bytes() const {
    return v_dim * 4 + first_moments() * element_bytes(moments) +
           second_moments() * element_bytes(second_moment_dtype()) + 4;
  }
  constexpr std::int64_t bytes() const {
    return updated ? align(step_offset() + 4, 16) : m_offset();
  }
};

// A table of `rows` rows; addresses are valid on the context's device (host memory is mapped). Of a
// table that is spread over ranks it is the owner's part (spread/row_owners.h): lists of rows are
// then lists of places in this part.
struct ValueRows {
  std::uint16_t* hi = nullptr;   // [rows, v_dim] BF16
  std::byte* records = nullptr;  // [rows, layout.bytes()]
  std::int64_t rows = 0;
  RecordLayout layout;
  RankPlace owner;

  std::int64_t v_dim() const { return layout.v_dim; }
  // The number in the whole table of the row at a place of this part; random numbers are drawn by
  // it.
  std::int64_t row_of(std::int64_t place) const { return place * owner.size + owner.rank; }
};

enum class ValuePrecision : std::uint8_t {
  bf16,  // the forward pass reads `hi`
  fp32,  // the forward pass reads hi + lo
};

// Initial state of rows [first, first + count): weight = deviation * normal(seed, stream, element),
// element = row * v_dim + column (philox.h) of the whole table's row; moments 0; last_step 0. In
// parallel on the host or on the device: the same bits either way.
void initialize_rows(const Context& context, const ValueRows& table, std::int64_t first,
                     std::int64_t count, std::uint64_t seed, std::uint64_t stream,
                     double deviation);

// Lazy weight decay: a row that was last touched at step s and is read at step t > s has decayed by
// exp(log_decay[t] - log_decay[s]); log_decay [steps + 1] f64 is cumulative and log_decay[0] = 0.
// `step` [1] i32 is the number of updates done so far. Both empty: no decay.
struct LazyDecay {
  Tensor log_decay, step;
};

// Where some of a list's rows have a newer copy than the table's: row u at `rows` place places[u],
// if that is not negative. places [capacity] i32. Empty: nowhere.
struct NewerRows {
  ValueRows rows;
  Tensor places;
};

// out [capacity, v_dim] (f32, f64 or bf16): row u = table row unique.rows[u] for begin <= u <
// count, or its newer copy, in the given precision, decayed to now. The other rows are left as they
// are. `begin` [1] i32; empty: 0. On the CPU bf16 takes the stored bits and neither decay nor newer
// copies.
void gather_rows(const Context& context, Tensor out, const ValueRows& table,
                 const UniqueRows& unique, ValuePrecision precision, const LazyDecay& decay,
                 const NewerRows& newer = {}, Tensor begin = {});

// The same for the rows that have a newer copy; the others are left as they are.
void gather_newer_rows(const Context& context, Tensor out, const NewerRows& newer,
                       const UniqueRows& unique, ValuePrecision precision, const LazyDecay& decay);

namespace cuda {
decltype(memengine::initialize_rows) initialize_rows;
decltype(memengine::gather_rows) gather_rows;
decltype(memengine::gather_newer_rows) gather_newer_rows;
}  // namespace cuda

}  // namespace memengine
