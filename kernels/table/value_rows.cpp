// CPU reference of the value table: its initial state, and the gather of the unique rows.
#include "kernels/table/value_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/dispatch.h"
#include "kernels/runtime/philox.h"

namespace memengine {
namespace {

// How much a row that was last updated at its record's last_step has decayed since.
class Decay {
 public:
  explicit Decay(const LazyDecay& decay) {
    if (decay.log_decay.empty()) return;
    log_decay_ = decay.log_decay.as<double>();
    now_ = log_decay_[*decay.step.as<std::int32_t>()];
  }
  double factor(const ValueRows& table, std::int64_t row) const {
    if (log_decay_ == nullptr) return 1;
    const std::byte* record = table.records + row * table.layout.bytes();
    std::uint32_t last_step = 0;
    std::memcpy(&last_step, record + table.layout.step_offset(), sizeof last_step);
    return std::exp(now_ - log_decay_[last_step]);
  }

 private:
  const double* log_decay_ = nullptr;
  double now_ = 0;
};

// No table: only the rows that have a newer copy.
template <typename T>
void gather(T* out, const ValueRows* table, const NewerRows& newer, const UniqueRows& unique,
            ValuePrecision precision, const Decay& decay, std::int64_t begin) {
  const ValueRows& any = table != nullptr ? *table : newer.rows;
  const std::int64_t v_dim = any.v_dim();
  const std::int64_t record_bytes = any.layout.bytes();
  const std::int64_t count = *unique.count.as<std::int32_t>();
  const std::int32_t* places = newer.places.empty() ? nullptr : newer.places.as<std::int32_t>();
  const std::int32_t* rows = unique.rows.as<std::int32_t>();
#pragma omp parallel for schedule(static)
  for (std::int64_t u = begin; u < count; ++u) {
    const bool has_newer = places != nullptr && places[u] >= 0;
    if (!has_newer && table == nullptr) continue;
    const ValueRows& home = has_newer ? newer.rows : *table;
    const std::int64_t row = has_newer ? places[u] : rows[u];
    const T factor = static_cast<T>(decay.factor(home, row));
    const std::uint16_t* hi = home.hi + row * v_dim;
    T* out_row = out + u * v_dim;
    if (precision == ValuePrecision::bf16) {
#pragma omp simd
      for (std::int64_t i = 0; i < v_dim; ++i) out_row[i] = factor * join_float(hi[i], 0);
    } else {
      const auto* lo = reinterpret_cast<const std::uint16_t*>(home.records + row * record_bytes);
#pragma omp simd
      for (std::int64_t i = 0; i < v_dim; ++i) out_row[i] = factor * join_float(hi[i], lo[i]);
    }
  }
}

}  // namespace

void initialize_rows(const Context& context, const ValueRows& table, std::int64_t first,
                     std::int64_t count, std::uint64_t seed, std::uint64_t stream,
                     double deviation) {
  MEMENGINE_ON_CUDA(context,
                    cuda::initialize_rows(context, table, first, count, seed, stream, deviation));
  const std::int64_t v_dim = table.v_dim();
  const std::int64_t record_bytes = table.layout.bytes();
  const float scale = static_cast<float>(deviation);
#pragma omp parallel for schedule(static)
  for (std::int64_t row = first; row < first + count; ++row) {
    std::uint16_t* hi = table.hi + row * v_dim;
    std::byte* record = table.records + row * record_bytes;
    std::memset(record, 0, static_cast<std::size_t>(record_bytes));
    auto* lo = reinterpret_cast<std::uint16_t*>(record);
    // Normal numbers come in blocks of four; a row may begin and end within a block.
    float normal[4] = {};
    for (std::int64_t i = 0; i < v_dim; ++i) {
      const std::uint64_t element = static_cast<std::uint64_t>(table.row_of(row) * v_dim + i);
      if (i == 0 || element % 4 == 0) philox_normal4(seed, stream, element / 4, normal);
      const SplitFloat weight = split_float(scale * normal[element % 4]);
      hi[i] = weight.hi;
      lo[i] = weight.lo;
    }
  }
}

void gather_rows(const Context& context, Tensor out, const ValueRows& table,
                 const UniqueRows& unique, ValuePrecision precision, const LazyDecay& decay,
                 const NewerRows& newer, Tensor begin) {
  MEMENGINE_ON_CUDA(context,
                    cuda::gather_rows(context, out, table, unique, precision, decay, newer, begin));
  const std::int64_t first = begin.empty() ? 0 : *begin.as<std::int32_t>();
  if (out.dtype() == DType::bf16) {
    for (std::int64_t u = first; u < *unique.count.as<std::int32_t>(); ++u) {
      std::copy_n(table.hi + unique.rows.as<std::int32_t>()[u] * table.v_dim(), table.v_dim(),
                  static_cast<std::uint16_t*>(out.data()) + u * table.v_dim());
    }
    return;
  }
  dispatch_floating(out.dtype(), [&]<typename T>() {
    gather(out.as<T>(), &table, newer, unique, precision, Decay(decay), first);
  });
}

void gather_newer_rows(const Context& context, Tensor out, const NewerRows& newer,
                       const UniqueRows& unique, ValuePrecision precision, const LazyDecay& decay) {
  MEMENGINE_ON_CUDA(context,
                    cuda::gather_newer_rows(context, out, newer, unique, precision, decay));
  dispatch_floating(out.dtype(), [&]<typename T>() {
    gather(out.as<T>(), nullptr, newer, unique, precision, Decay(decay), 0);
  });
}

}  // namespace memengine
