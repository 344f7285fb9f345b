// A team of threads works on one row at a time, as in optim/sparse_adam.cu: the row's two halves
// are read, moved and stored again. Which team gets a row does not change the result.
#include "optim/sparse_sgd/sparse_sgd.h"

#include "kernels/table/table_grid.cuh"
#include "optim/rows_here.cuh"

namespace memengine::cuda {
namespace {

template <int width>
__global__ void __launch_bounds__(table_threads)
    descend_kernel(Table table, RowsHere here, const float* gradients, std::int32_t* rows_ever_used,
                   const ScheduleEntry* schedule, const double* log_decay,
                   const std::int32_t* steps_done, const float* value_scale, int team) {
  const float scale = *value_scale;
  if (isnan(scale)) return;
  const auto step = static_cast<std::uint32_t>(*steps_done + 1);
  const ScheduleEntry entry = schedule[step];
  const double log_decay_now = log_decay[step - 1] + entry.value_log_keep;
  const std::int64_t first = here.first == nullptr ? 0 : *here.first;
  const std::int64_t end = *here.end;
  const int member = static_cast<int>(threadIdx.x) % team;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const unsigned mask = (team == warp_size ? 0xffffffffU : (1U << team) - 1)
                        << (lane - lane % team);
  const int teams_per_block = table_threads / team;
  const std::int64_t teams = std::int64_t{gridDim.x} * teams_per_block;
  int first_uses = 0;
  for (std::int64_t i =
           first + static_cast<std::int64_t>(blockIdx.x) * teams_per_block + threadIdx.x / team;
       i < end; i += teams) {
    const std::int64_t u = here.listed == nullptr ? i : here.listed[i];
    const std::int64_t place = here.places == nullptr ? here.rows[u] : here.places[i];
    std::byte* record = table.records + place * table.record_bytes;
    std::uint16_t* hi = table.hi + place * table.v_dim;
    auto* lo = reinterpret_cast<std::uint16_t*>(record);
    auto* last_step = reinterpret_cast<std::uint32_t*>(record + table.step_offset);
    const std::uint32_t before = *last_step;
    const double log_keep = log_decay_now - log_decay[before];
    const float keep = log_keep == 0 ? 1.0F : static_cast<float>(exp(log_keep));
    for (int column = member * width; column < table.v_dim; column += team * width) {
      Pack<std::uint16_t, width> upper = load<width>(hi + column);
      Pack<std::uint16_t, width> lower = load<width>(lo + column);
      float g[width];
      load(gradients + u * table.v_dim + column, g);
#pragma unroll
      for (int c = 0; c < width; ++c) {
        const SplitFloat weight =
            split_float(keep * join_float(upper.element[c], lower.element[c]) -
                        entry.value_learning_rate * (g[c] * scale));
        upper.element[c] = weight.hi;
        lower.element[c] = weight.lo;
      }
      *reinterpret_cast<Pack<std::uint16_t, width>*>(hi + column) = upper;
      *reinterpret_cast<Pack<std::uint16_t, width>*>(lo + column) = lower;
    }
    __syncwarp(mask);  // every member has read last_step
    if (member == 0) {
      *last_step = step;
      first_uses += before == 0 ? 1 : 0;
    }
  }
  if (first_uses != 0) atomicAdd(rows_ever_used, first_uses);
}

}  // namespace

void sparse_sgd(const Context& context, const ValueRows& table, const StagedRows& staged,
                const UniqueRows& unique, Tensor row_gradients, Tensor rows_ever_used,
                const UpdateState& state) {
  for_each_home(table, staged, unique, [&](const ValueRows& home, const RowsHere& here) {
    const auto start = [&](auto kernel, int team) {
      kernel<<<table_blocks(home.hi), table_threads, 0, context.stream>>>(
          table_of(home), here, row_gradients.as<float>(), rows_ever_used.as<std::int32_t>(),
          reinterpret_cast<const ScheduleEntry*>(state.schedule.as<std::uint8_t>()),
          state.log_decay.as<double>(), state.step.as<std::int32_t>(),
          state.value_scale.as<float>(), team);
    };
    if (home.v_dim() % 4 == 0)
      start(descend_kernel<4>, row_team(home.v_dim() / 4));
    else
      start(descend_kernel<1>, row_team(home.v_dim()));
    MEMENGINE_LAUNCH_CHECK("sparse_sgd");
  });
}

}  // namespace memengine::cuda
