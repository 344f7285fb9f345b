// CPU reference: the formula, row by row.
#include "optim/sparse_sgd/sparse_sgd.h"

#include <cmath>
#include <cstring>

#include "kernels/dispatch.h"
#include "kernels/runtime/bfloat16.h"
#include "optim/adam_step.h"

namespace memengine {
namespace {

template <typename T>
void descend(const ValueRows& table, const StagedRows& staged, const UniqueRows& unique,
             const T* gradients, std::int32_t* rows_ever_used, const UpdateState& state) {
  const float scale = *state.value_scale.as<float>();
  if (std::isnan(scale)) return;
  const ScheduleEntry& entry = current_entry(state);
  const auto step = static_cast<std::uint32_t>(*state.step.as<std::int32_t>() + 1);
  const double* log_decay = state.log_decay.as<double>();
  const double log_decay_now = log_decay[step - 1] + entry.value_log_keep;
  const std::int32_t* rows = unique.rows.as<std::int32_t>();
  const std::int64_t count = *unique.count.as<std::int32_t>();
  const std::int64_t v_dim = table.v_dim();
  const bool staging = staged.capacity() > 0;
  const std::int64_t staged_count = staging ? *staged.count.as<std::int32_t>() : 0;
  std::int32_t first_uses = 0;
#pragma omp parallel for schedule(static) reduction(+ : first_uses)
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t u = staging ? staged.listed.as<std::int32_t>()[i] : i;
    const bool here = i < staged_count;
    const ValueRows& home = here ? staged.values : table;
    const std::int64_t place = here ? staged.placed.as<std::int32_t>()[i] : rows[u];
    std::byte* record = home.records + place * home.layout.bytes();
    std::uint16_t* hi = home.hi + place * v_dim;
    auto* lo = reinterpret_cast<std::uint16_t*>(record);
    std::uint32_t last_step = 0;
    std::memcpy(&last_step, record + home.layout.step_offset(), sizeof last_step);
    std::memcpy(record + home.layout.step_offset(), &step, sizeof step);
    first_uses += last_step == 0 ? 1 : 0;
    const float keep = static_cast<float>(std::exp(log_decay_now - log_decay[last_step]));
    const T* gradient = gradients + u * v_dim;
    for (std::int64_t c = 0; c < v_dim; ++c) {
      const float g = static_cast<float>(gradient[c] * static_cast<T>(scale));
      const SplitFloat weight =
          split_float(keep * join_float(hi[c], lo[c]) - entry.value_learning_rate * g);
      hi[c] = weight.hi;
      lo[c] = weight.lo;
    }
  }
  *rows_ever_used += first_uses;
}

}  // namespace

void sparse_sgd(const Context& context, const ValueRows& table, const StagedRows& staged,
                const UniqueRows& unique, Tensor row_gradients, Tensor rows_ever_used,
                const UpdateState& state) {
  if (table.layout.has_moments) fail_internal("sparse_sgd: the table keeps moments");
  MEMENGINE_ON_CUDA(context, cuda::sparse_sgd(context, table, staged, unique, row_gradients,
                                              rows_ever_used, state));
  dispatch_floating(row_gradients.dtype(), [&]<typename T>() {
    descend(table, staged, unique, row_gradients.as<T>(), rows_ever_used.as<std::int32_t>(), state);
  });
}

}  // namespace memengine
