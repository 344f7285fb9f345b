// Adam on the rows of a value table, in device memory or straight in mapped host memory.
//
// A team of threads works on one row at a time, four neighbouring columns per thread: all of a
// row's parts (weight halves, both moments, last step) are loaded before the first is used, and the
// whole record goes back in contiguous stores, so a row is one burst of requests each way over the
// link. The grid is persistent over the rows; which team gets a row does not change the result.
#include "optim/sparse_adam.h"

#include "kernels/table/table_grid.cuh"
#include "optim/rows_here.cuh"
#include "optim/stochastic_rounding.h"

namespace memengine::cuda {
namespace {

constexpr int tile_rows = 256;  // of the dense variant

// UpdateState and AdamHyperparameters as the kernels read them.
struct Hyperparameters {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, epsilon;
  double weight_decay;
  const ScheduleEntry* schedule;
  const double* log_decay;
  const std::int32_t* step;
  const float* scale;
};

Hyperparameters hyperparameters_of(const UpdateState& state, const AdamHyperparameters& adam) {
  return {static_cast<float>(adam.beta1),
          static_cast<float>(1 - adam.beta1),
          static_cast<float>(adam.beta2),
          static_cast<float>(1 - adam.beta2),
          static_cast<float>(adam.epsilon),
          adam.weight_decay,
          reinterpret_cast<const ScheduleEntry*>(state.schedule.as<std::uint8_t>()),
          state.log_decay.as<double>(),
          state.step.as<std::int32_t>(),
          state.value_scale.as<float>()};
}

// What is the same for every row of one update.
struct Update {
  float beta1, one_minus_beta1, beta2, one_minus_beta2, epsilon;
  float learning_rate, inverse_correction1, inverse_correction2, scale;
  std::uint32_t step;
  std::uint64_t seed;

  __device__ Update(const Hyperparameters& adam, std::uint64_t rounding_seed)
      : beta1(adam.beta1),
        one_minus_beta1(adam.one_minus_beta1),
        beta2(adam.beta2),
        one_minus_beta2(adam.one_minus_beta2),
        epsilon(adam.epsilon),
        scale(*adam.scale),
        step(static_cast<std::uint32_t>(*adam.step + 1)),
        seed(rounding_seed) {
    const ScheduleEntry entry = adam.schedule[step];
    learning_rate = entry.value_learning_rate;
    inverse_correction1 = 1.0F / entry.bias_correction1;
    inverse_correction2 = 1.0F / entry.bias_correction2;
  }
};

// `bits`: of rounding_bits(), 16 for each moment of a column.
template <int width>
__device__ __forceinline__ void store_stochastically(bfloat16* to, const float (&x)[width],
                                                     const Philox4& bits, int column, int shift) {
  Pack<bfloat16, width> rounded;
#pragma unroll
  for (int i = 0; i < width; ++i) {
    std::uint32_t word = bits.word[i];
    if constexpr (width == 1) {
      const int place = column % 4;
      word = place == 0   ? bits.word[0]
             : place == 1 ? bits.word[1]
             : place == 2 ? bits.word[2]
                          : bits.word[3];
    }
    rounded.element[i] = round_stochastically(x[i], word >> shift & 0xffffU);
  }
  *reinterpret_cast<Pack<bfloat16, width>*>(to) = rounded;
}

// Without `of_row` both moments, else the first.
template <int width, bool stochastic, bool of_row, typename Moment>
__device__ __forceinline__ void store_moments(Moment* m_to, Moment* v_to, const float (&m)[width],
                                              const float (&v)[width], const Update& update,
                                              std::int64_t row, int column) {
  if constexpr (stochastic && sizeof(Moment) == 2) {
    const Philox4 bits =
        rounding_bits(update.seed, row, update.step, static_cast<std::uint32_t>(column) / 4);
    store_stochastically(m_to, m, bits, column, 0);
    if constexpr (!of_row) store_stochastically(v_to, v, bits, column, 16);
  } else {
    store(m_to, m);
    if constexpr (!of_row) store(v_to, v);
  }
}

// The lanes of this thread's team.
__device__ __forceinline__ unsigned team_mask(int team) {
  const unsigned lanes = team == warp_size ? 0xffffffffU : (1U << team) - 1;
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  return lanes << (lane - lane % team);
}

// The one second moment of a row, moved by the mean square of its gradient; the team's first member
// stores it.
template <int width>
__device__ __forceinline__ float move_row_moment(const Table& table, std::byte* record,
                                                 const float* gradient, const Update& update,
                                                 int member, int team) {
  const unsigned mask = team_mask(team);
  float squares = 0;
  for (int column = member * width; column < table.v_dim; column += team * width) {
    float g[width];
    load(gradient + column, g);
#pragma unroll
    for (int i = 0; i < width; ++i) squares += g[i] * update.scale * (g[i] * update.scale);
  }
  for (int offset = team / 2; offset > 0; offset /= 2) {
    squares += __shfl_xor_sync(mask, squares, offset);
  }
  auto* stored = reinterpret_cast<float*>(record + table.v_offset);
  const float v =
      update.beta2 * *stored + update.one_minus_beta2 * (squares / static_cast<float>(table.v_dim));
  __syncwarp(mask);  // every member has read it
  if (member == 0) *stored = v;
  return v;
}

// One row by one team: weights *= keep, then one Adam step; no gradient (nullptr) is a gradient of
// zero. `keep` is a function, called once the row's parts are under way. `row` is
// its number in the whole table; it stands at `place` of this one.
template <typename Moment, int width, bool stochastic, bool of_row, typename Keep>
__device__ __forceinline__ void update_row(const Table& table, std::int64_t place, std::int64_t row,
                                           const float* gradient, const Update& update, int member,
                                           int team, Keep&& keep) {
  std::byte* record = table.records + place * table.record_bytes;
  std::uint16_t* hi = table.hi + place * table.v_dim;
  auto* lo = reinterpret_cast<std::uint16_t*>(record);
  auto* m_stored = reinterpret_cast<Moment*>(record + table.m_offset);
  auto* v_stored = reinterpret_cast<Moment*>(record + table.v_offset);
  float denominator = 0;
  if constexpr (of_row) {
    const float v = move_row_moment<width>(table, record, gradient, update, member, team);
    denominator = sqrtf(v * update.inverse_correction2) + update.epsilon;
  }
  for (int column = member * width; column < table.v_dim; column += team * width) {
    Pack<std::uint16_t, width> upper = load<width>(hi + column);
    Pack<std::uint16_t, width> lower = load<width>(lo + column);
    const Pack<Moment, width> m_before = load<width>(m_stored + column);
    Pack<Moment, width> v_before;
    if constexpr (!of_row) v_before = load<width>(v_stored + column);
    float g[width] = {};
    if (gradient != nullptr) load(gradient + column, g);
    const float kept = keep();
    float m[width];
    float v[width];
#pragma unroll
    for (int i = 0; i < width; ++i) {
      g[i] *= update.scale;
      m[i] = update.beta1 * m_before[i] + update.one_minus_beta1 * g[i];
      if constexpr (!of_row) {
        v[i] = update.beta2 * v_before[i] + update.one_minus_beta2 * g[i] * g[i];
        denominator = sqrtf(v[i] * update.inverse_correction2) + update.epsilon;
      }
      const float direction = m[i] * update.inverse_correction1 / denominator;
      const SplitFloat weight = split_float(kept * join_float(upper.element[i], lower.element[i]) -
                                            update.learning_rate * direction);
      upper.element[i] = weight.hi;
      lower.element[i] = weight.lo;
    }
    *reinterpret_cast<Pack<std::uint16_t, width>*>(hi + column) = upper;
    *reinterpret_cast<Pack<std::uint16_t, width>*>(lo + column) = lower;
    store_moments<width, stochastic, of_row>(m_stored + column, v_stored + column, m, v, update,
                                             row, column);
  }
}

__device__ __forceinline__ std::uint32_t* last_step_of(const Table& table, std::int64_t place) {
  return reinterpret_cast<std::uint32_t*>(table.records + place * table.record_bytes +
                                          table.step_offset);
}

template <typename Moment, int width, bool of_row>
__global__ void __launch_bounds__(table_threads)
    sparse_kernel(Table table, RowsHere here, const float* gradients, std::int32_t* rows_ever_used,
                  Hyperparameters adam, std::uint64_t seed, int team) {
  const Update update(adam, seed);
  if (isnan(update.scale)) return;
  const std::int64_t first = here.first == nullptr ? 0 : *here.first;
  const std::int64_t end = *here.end;
  const double log_decay_now =
      adam.log_decay[update.step - 1] + adam.schedule[update.step].value_log_keep;
  const int member = static_cast<int>(threadIdx.x) % team;
  const unsigned mask = team_mask(team);
  const int teams_per_block = table_threads / team;
  const std::int64_t teams = std::int64_t{gridDim.x} * teams_per_block;
  int first_uses = 0;
  for (std::int64_t i =
           first + static_cast<std::int64_t>(blockIdx.x) * teams_per_block + threadIdx.x / team;
       i < end; i += teams) {
    const std::int64_t u = here.listed == nullptr ? i : here.listed[i];
    const std::int64_t row = here.rows[u];
    const std::int64_t place = here.places == nullptr ? row : here.places[i];
    std::uint32_t* last_step = last_step_of(table, place);
    const std::uint32_t before = *last_step;
    update_row<Moment, width, true, of_row>(
        table, place, table.row_of(row), gradients + u * table.v_dim, update, member, team, [&] {
          const double log_keep = log_decay_now - adam.log_decay[before];
          return log_keep == 0 ? 1.0F : static_cast<float>(exp(log_keep));
        });
    __syncwarp(mask);  // every member has read last_step
    if (member == 0) {
      *last_step = update.step;
      first_uses += before == 0 ? 1 : 0;
    }
  }
  if (first_uses != 0) atomicAdd(rows_ever_used, first_uses);
}

// A block takes tiles of consecutive rows; of_row says which of them have a gradient. Both the
// table and the list of unique rows ascend, so a tile's share of the list is one interval.
template <typename Moment, int width>
__global__ void __launch_bounds__(table_threads)
    dense_kernel(Table table, const std::int32_t* rows, const std::int32_t* count_pointer,
                 const float* gradients, std::int32_t* rows_ever_used, Hyperparameters adam,
                 int team) {
  __shared__ int of_row[tile_rows];
  const Update update(adam, 0);
  if (isnan(update.scale)) return;
  const int count = *count_pointer;
  const float kept = static_cast<float>(1 - update.learning_rate * adam.weight_decay);
  const int member = static_cast<int>(threadIdx.x) % team;
  const unsigned mask = team_mask(team);
  int first_uses = 0;
  for (std::int64_t first = std::int64_t{blockIdx.x} * tile_rows; first < table.rows;
       first += std::int64_t{gridDim.x} * tile_rows) {
    for (int i = static_cast<int>(threadIdx.x); i < tile_rows; i += table_threads) of_row[i] = -1;
    int low = 0;
    int high = count;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if (rows[middle] < first)
        low = middle + 1;
      else
        high = middle;
    }
    __syncthreads();
    for (int u = low + static_cast<int>(threadIdx.x); u < count; u += table_threads) {
      const std::int64_t place = rows[u] - first;
      if (place >= tile_rows) break;
      of_row[place] = u;
    }
    __syncthreads();
    const std::int64_t rows_here = min(std::int64_t{tile_rows}, table.rows - first);
    for (int i = static_cast<int>(threadIdx.x) / team; i < rows_here; i += table_threads / team) {
      const std::int64_t row = first + i;
      const int u = of_row[i];
      const float* gradient =
          u < 0 ? nullptr : gradients + static_cast<std::int64_t>(u) * table.v_dim;
      update_row<Moment, width, false, false>(table, row, row, gradient, update, member, team,
                                              [&] { return kept; });
      if (u >= 0 && member == 0) {
        std::uint32_t* last_step = last_step_of(table, row);
        first_uses += *last_step == 0 ? 1 : 0;
        *last_step = update.step;
      }
      __syncwarp(mask);
    }
    __syncthreads();
  }
  if (first_uses != 0) atomicAdd(rows_ever_used, first_uses);
}

// Calls body.template operator()<Moment, width>(team).
template <typename Body>
void dispatch_table(const ValueRows& table, Body&& body) {
  const auto with_moment = [&]<typename Moment>() {
    if (table.v_dim() % 4 == 0)
      body.template operator()<Moment, 4>(row_team(table.v_dim() / 4));
    else
      body.template operator()<Moment, 1>(row_team(table.v_dim()));
  };
  if (table.layout.moments == DType::bf16)
    with_moment.template operator()<bfloat16>();
  else
    with_moment.template operator()<float>();
}

}  // namespace

void sparse_adam(const Context& context, const ValueRows& table, const StagedRows& staged,
                 const UniqueRows& unique, Tensor row_gradients, Tensor rows_ever_used,
                 const UpdateState& state, const AdamHyperparameters& hyperparameters,
                 std::uint64_t seed) {
  const Hyperparameters adam = hyperparameters_of(state, hyperparameters);
  for_each_home(table, staged, unique, [&](const ValueRows& home, const RowsHere& here) {
    dispatch_table(home, [&]<typename Moment, int width>(int team) {
      const auto start = [&](auto kernel) {
        kernel<<<table_blocks(home.hi), table_threads, 0, context.stream>>>(
            table_of(home), here, row_gradients.as<float>(), rows_ever_used.as<std::int32_t>(),
            adam, seed, team);
      };
      if (home.layout.row_second_moment)
        start(sparse_kernel<Moment, width, true>);
      else
        start(sparse_kernel<Moment, width, false>);
    });
    MEMENGINE_LAUNCH_CHECK("sparse_adam");
  });
}

void dense_adam_rows(const Context& context, const ValueRows& table, const UniqueRows& unique,
                     Tensor row_gradients, Tensor rows_ever_used, const UpdateState& state,
                     const AdamHyperparameters& hyperparameters) {
  const Hyperparameters adam = hyperparameters_of(state, hyperparameters);
  dispatch_table(table, [&]<typename Moment, int width>(int team) {
    dense_kernel<Moment, width><<<table_blocks(table.hi), table_threads, 0, context.stream>>>(
        table_of(table), unique.rows.as<std::int32_t>(), unique.count.as<std::int32_t>(),
        row_gradients.as<float>(), rows_ever_used.as<std::int32_t>(), adam, team);
  });
  MEMENGINE_LAUNCH_CHECK("dense_adam_rows");
}

}  // namespace memengine::cuda
