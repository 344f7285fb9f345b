// CPU reference of Adam on the rows of a value table.
//
// A row is updated in slices of columns: the weights are joined from their two halves, the moments
// widened to FP32, one Adam step is taken, and all is split and rounded back to where it came from.
#include "optim/sparse_adam.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/dispatch.h"
#include "optim/adam_step.h"
#include "optim/stochastic_rounding.h"

namespace memengine {
namespace {

constexpr std::int64_t slice_columns = 64;

// The parts of one row; see RecordLayout.
struct RowParts {
  std::uint16_t* hi;
  std::uint16_t* lo;
  std::byte* m;
  std::byte* v;
  std::byte* last_step;

  RowParts(const ValueRows& table, std::int64_t row) {
    std::byte* record = table.records + row * table.layout.bytes();
    hi = table.hi + row * table.v_dim();
    lo = reinterpret_cast<std::uint16_t*>(record);
    m = record + table.layout.m_offset();
    v = record + table.layout.v_offset();
    last_step = record + table.layout.step_offset();
  }

  // Sets last_step and returns what it was.
  std::uint32_t touch(std::uint32_t step) const {
    std::uint32_t before = 0;
    std::memcpy(&before, last_step, sizeof before);
    std::memcpy(last_step, &step, sizeof step);
    return before;
  }
};

// How BF16 moments are rounded: to nearest, or stochastically with the bits of (seed, row, step).
struct Rounding {
  bool stochastic = false;
  std::uint64_t seed = 0;
  std::int64_t row = 0;
  std::uint32_t step = 0;
};

void load_moments(float* to, const float* from, std::int64_t count) {
  std::copy_n(from, count, to);
}
void load_moments(float* to, const bfloat16* from, std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) to[i] = to_float(from[i]);
}

// Without `v` the row's second moment is kept elsewhere.
void store_moments(float* m_to, float* v_to, const float* m, const float* v,
                   std::int64_t /*first_column*/, std::int64_t count, const Rounding&) {
  std::copy_n(m, count, m_to);
  if (v != nullptr) std::copy_n(v, count, v_to);
}
void store_moments(bfloat16* m_to, bfloat16* v_to, const float* m, const float* v,
                   std::int64_t first_column, std::int64_t count, const Rounding& rounding) {
  if (!rounding.stochastic) {
    for (std::int64_t i = 0; i < count; ++i) {
      m_to[i] = to_bfloat16(m[i]);
      if (v != nullptr) v_to[i] = to_bfloat16(v[i]);
    }
    return;
  }
  for (std::int64_t i = 0; i < count; i += 4) {
    const Philox4 random = rounding_bits(rounding.seed, rounding.row, rounding.step,
                                         static_cast<std::uint32_t>((first_column + i) / 4));
    for (std::int64_t c = 0; c < std::min<std::int64_t>(4, count - i); ++c) {
      m_to[i + c] = round_stochastically(m[i + c], random.word[c] & 0xffffU);
      if (v != nullptr) v_to[i + c] = round_stochastically(v[i + c], random.word[c] >> 16);
    }
  }
}

// What is the same for every row of one update. T is the dtype of the row gradients.
template <typename T>
struct RowUpdate {
  const ValueRows& table;
  AdamStep<float> adam;
  float learning_rate;
  T gradient_scale;

  // weights *= keep, then one Adam step; no gradient (nullptr) is a gradient of 0.
  void apply(const RowParts& row, const T* gradient, float keep, const Rounding& rounding) const {
    if (table.layout.moments == DType::bf16) {
      apply_slices<bfloat16>(row, gradient, keep, rounding);
    } else {
      apply_slices<float>(row, gradient, keep, rounding);
    }
  }

 private:
  template <typename Moment>
  void apply_slices(const RowParts& row, const T* gradient, float keep,
                    const Rounding& rounding) const {
    auto* m_stored = reinterpret_cast<Moment*>(row.m);
    auto* v_stored = reinterpret_cast<Moment*>(row.v);
    float g[slice_columns] = {};
    float m[slice_columns];
    float v[slice_columns];
    const bool of_row = table.layout.row_second_moment;
    const float denominator = of_row ? adam.denominator(move_row_moment(row, gradient)) : 0;
    for (std::int64_t first = 0; first < table.v_dim(); first += slice_columns) {
      const std::int64_t count = std::min(slice_columns, table.v_dim() - first);
      if (gradient != nullptr) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          g[i] = static_cast<float>(gradient[first + i] * gradient_scale);
        }
      }
      load_moments(m, m_stored + first, count);
      if (!of_row) load_moments(v, v_stored + first, count);
      std::uint16_t* hi = row.hi + first;
      std::uint16_t* lo = row.lo + first;
      const auto step = [&](auto&& direction) {
#pragma omp simd
        for (std::int64_t i = 0; i < count; ++i) {
          const SplitFloat weight =
              split_float(keep * join_float(hi[i], lo[i]) - learning_rate * direction(i));
          hi[i] = weight.hi;
          lo[i] = weight.lo;
        }
      };
      if (of_row) {
        step([&](std::int64_t i) { return adam.direction_over(denominator, m[i], g[i]); });
      } else {
        step([&](std::int64_t i) { return adam.direction(m[i], v[i], g[i]); });
      }
      store_moments(m_stored + first, v_stored + first, m, of_row ? nullptr : v, first, count,
                    rounding);
    }
  }

  // The one second moment of a row, moved by its gradient's mean square and stored.
  float move_row_moment(const RowParts& row, const T* gradient) const {
    double squares = 0;
    for (std::int64_t i = 0; i < table.v_dim(); ++i) {
      const double g = static_cast<double>(gradient[i]) * static_cast<double>(gradient_scale);
      squares += g * g;
    }
    float v = 0;
    std::memcpy(&v, row.v, sizeof v);
    v = adam.beta2 * v +
        adam.one_minus_beta2 * static_cast<float>(squares / static_cast<double>(table.v_dim()));
    std::memcpy(row.v, &v, sizeof v);
    return v;
  }
};

template <typename T>
void sparse(const ValueRows& table, const StagedRows& staged, const UniqueRows& unique,
            const T* gradients, std::int32_t* rows_ever_used, const UpdateState& state,
            const AdamHyperparameters& hyperparameters, std::uint64_t seed) {
  const float scale = *state.value_scale.as<float>();
  if (std::isnan(scale)) return;
  const ScheduleEntry& entry = current_entry(state);
  const auto step = static_cast<std::uint32_t>(*state.step.as<std::int32_t>() + 1);
  const RowUpdate<T> update{table, AdamStep<float>(entry, hyperparameters),
                            entry.value_learning_rate, scale};
  const double* log_decay = state.log_decay.as<double>();
  const double log_decay_now = log_decay[step - 1] + entry.value_log_keep;
  const std::int32_t* rows = unique.rows.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
  std::int32_t first_uses = 0;
  const bool staging = staged.capacity() > 0;
  const std::int64_t staged_count = staging ? *staged.count.as<std::int32_t>() : 0;
#pragma omp parallel for schedule(static) reduction(+ : first_uses)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t u = staging ? staged.listed.as<std::int32_t>()[i] : i;
    const RowParts row = i < staged_count
                             ? RowParts(staged.values, staged.placed.as<std::int32_t>()[i])
                             : RowParts(table, rows[u]);
    const std::uint32_t last_step = row.touch(step);
    first_uses += last_step == 0 ? 1 : 0;
    const float keep = static_cast<float>(std::exp(log_decay_now - log_decay[last_step]));
    update.apply(row, gradients + u * table.v_dim(), keep,
                 {true, seed, table.row_of(rows[u]), step});
  }
  *rows_ever_used += first_uses;
}

template <typename T>
void dense(const ValueRows& table, const UniqueRows& unique, const T* gradients,
           std::int32_t* rows_ever_used, const UpdateState& state,
           const AdamHyperparameters& hyperparameters) {
  const float scale = *state.value_scale.as<float>();
  if (std::isnan(scale)) return;
  const ScheduleEntry& entry = current_entry(state);
  const auto step = static_cast<std::uint32_t>(*state.step.as<std::int32_t>() + 1);
  const RowUpdate<T> update{table, AdamStep<float>(entry, hyperparameters),
                            entry.value_learning_rate, scale};
  const float keep =
      static_cast<float>(1 - entry.value_learning_rate * hyperparameters.weight_decay);
  const std::int32_t* rows = unique.rows.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
  std::int32_t first_uses = 0;
  // Both the table and the unique rows ascend, so each block of the table merges its share of them.
  constexpr std::int64_t block = 256;
#pragma omp parallel for schedule(static) reduction(+ : first_uses)
  for (std::int64_t first = 0; first < table.rows; first += block) {
    std::int64_t u = std::lower_bound(rows, rows + count, first) - rows;
    for (std::int64_t row = first; row < std::min(first + block, table.rows); ++row) {
      const RowParts parts(table, row);
      const T* gradient = nullptr;
      if (u < count && rows[u] == row) {
        gradient = gradients + u++ * table.v_dim();
        first_uses += parts.touch(step) == 0 ? 1 : 0;
      }
      update.apply(parts, gradient, keep, Rounding{});
    }
  }
  *rows_ever_used += first_uses;
}

}  // namespace

void sparse_adam(const Context& context, const ValueRows& table, const StagedRows& staged,
                 const UniqueRows& unique, Tensor row_gradients, Tensor rows_ever_used,
                 const UpdateState& state, const AdamHyperparameters& hyperparameters,
                 std::uint64_t seed) {
  MEMENGINE_ON_CUDA(context, cuda::sparse_adam(context, table, staged, unique, row_gradients,
                                               rows_ever_used, state, hyperparameters, seed));
  dispatch_floating(row_gradients.dtype(), [&]<typename T>() {
    sparse(table, staged, unique, row_gradients.as<T>(), rows_ever_used.as<std::int32_t>(), state,
           hyperparameters, seed);
  });
}

void dense_adam_rows(const Context& context, const ValueRows& table, const UniqueRows& unique,
                     Tensor row_gradients, Tensor rows_ever_used, const UpdateState& state,
                     const AdamHyperparameters& hyperparameters) {
  MEMENGINE_ON_CUDA(context, cuda::dense_adam_rows(context, table, unique, row_gradients,
                                                   rows_ever_used, state, hyperparameters));
  dispatch_floating(row_gradients.dtype(), [&]<typename T>() {
    dense(table, unique, row_gradients.as<T>(), rows_ever_used.as<std::int32_t>(), state,
          hyperparameters);
  });
}

}  // namespace memengine
