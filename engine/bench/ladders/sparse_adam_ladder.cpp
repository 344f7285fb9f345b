// From the whole table to one record per touched row.
#include <algorithm>
#include <cstring>

#include "engine/bench/ladders/ladder.h"
#include "engine/bench/ops/update_state.h"
#include "kernels/ladders/sparse_adam/rungs.h"
#include "optim/sparse_adam.h"

namespace memengine::bench {
namespace {

constexpr std::uint64_t table_seed = 5;

// The same weights twice in host memory, which a GPU maps: as the engine's table, and as plain
// arrays.
struct Tables {
  HostBlock records, plain;
  ValueRows rows;
  ladders::PlainTable arrays;
  bool plain_was_updated = false;

  Tables(std::int64_t count, std::int64_t columns, bool pinned) {
    rows.rows = count;
    rows.layout.v_dim = columns;
    const std::int64_t size = count * columns;
    records = HostBlock(count * (2 * columns + rows.layout.bytes()), pinned, "the ladder's table");
    plain = HostBlock(size * 14, pinned, "the ladder's plain table");
    rows.records = records.data();
    rows.hi = reinterpret_cast<std::uint16_t*>(records.data() + count * rows.layout.bytes());
    const auto part = [&](int i, DType dtype) {
      return Tensor(plain.data() + size * 4 * i, dtype, {count, columns});
    };
    arrays = {part(0, DType::f32), part(1, DType::f32), part(2, DType::f32), part(3, DType::bf16)};
  }

  float weight(std::int64_t row, std::int64_t column) const {
    const std::int64_t columns = rows.v_dim();
    std::uint16_t lo;
    std::memcpy(&lo, rows.records + row * rows.layout.bytes() + 2 * column, sizeof lo);
    return join_float(rows.hi[row * columns + column], lo);
  }

  void start_over(Runtime& runtime) {
    initialize_rows(runtime.context(), rows, 0, rows.rows, table_seed, 0, 0.02);
    runtime.synchronize();
    std::memset(plain.data(), 0, static_cast<std::size_t>(plain.bytes()));
    const std::int64_t columns = rows.v_dim();
#pragma omp parallel for
    for (std::int64_t row = 0; row < rows.rows; ++row) {
      for (std::int64_t i = 0; i < columns; ++i) {
        arrays.weights.as<float>()[row * columns + i] = weight(row, i);
        arrays.read_weights.as<bfloat16>()[row * columns + i] = to_bfloat16(weight(row, i));
      }
    }
  }

  std::vector<double> weights() const {
    std::vector<double> all;
    const std::int64_t columns = rows.v_dim();
    for (std::int64_t i = 0; i < rows.rows * columns; ++i) {
      all.push_back(plain_was_updated ? arrays.weights.as<float>()[i]
                                      : weight(i / columns, i % columns));
    }
    return all;
  }
};

}  // namespace

Ladder sparse_adam_ladder(Workbench& bench, const LadderOptions& options) {
  const Context& context = bench.context();
  const bool gpu = context.on_cuda();
  // Random accesses to host memory become slow in tables of many gigabytes.
  const bool large = gpu && free_memory_bytes(Device::cpu) > (std::int64_t{40} << 30);
  const auto table_rows = options.of<std::int64_t>(300, 65536, large ? 4194304 : 131072);
  const auto columns = options.of<std::int64_t>(72, 128, 128);
  const auto picks = options.of<std::int64_t>(99, 4096, gpu ? 65536 : 4096);
  const auto tables = std::make_shared<Tables>(table_rows, columns, gpu);
  tables->start_over(bench.runtime());
  const Tensor pick_list =
      bench.integers(random_picks(PickPattern::uniform, picks, table_rows, 11));
  const UniqueRows unique = allocate_unique(bench, picks, table_rows);
  const Tensor gradients = ladder_numbers(bench, options, DType::f32, {unique.capacity(), columns});
  const Tensor dense_gradients = bench.zeros(DType::f32, {table_rows, columns});
  const Tensor rows_ever_used = bench.zeros(DType::i32, {1});
  const UpdateState state = update_state(bench);
  bench.reserve_scratch(deduplicate_scratch_bytes(context.device, picks, table_rows));
  deduplicate(context, unique, pick_list, table_rows);

  Ladder ladder;
  ladder.kept = {tables};
  ladder.shape = fmt::format("{} of {} rows of {} numbers, table in host memory",
                             unique_count(bench, unique), table_rows, columns);
  // Where nobody looks at the result, a table that goes on from rung to rung takes no longer.
  ladder.reset = [=, &bench] {
    if (options.tiny()) tables->start_over(bench.runtime());
  };
  ladder.result = [=, &bench] {
    bench.runtime().synchronize();
    return tables->weights();
  };
  const std::string folder = "kernels/ladders/sparse_adam/";
  ladder.rungs = {
      {"whole_table", folder + "whole_table",
       "Every row of the table has a gradient, most of them zero, and is updated.",
       [=, &bench] {
         tables->plain_was_updated = true;
         ladders::whole_table(bench.context(), tables->arrays, dense_gradients, unique, gradients,
                              {});
       }},
      {"touched_rows", folder + "touched_rows",
       "Only rows that the step has picked are read and written.",
       [=, &bench] {
         tables->plain_was_updated = true;
         ladders::touched_rows(bench.context(), tables->arrays, unique, gradients, {});
       }},
      {"sparse_adam", "optim/sparse_adam",
       "What only the optimizer needs of a row stands in one record, and the weights in two halves "
       "of which the forward pass reads one: two accesses each way instead of three and four.",
       [=, &bench] {
         tables->plain_was_updated = false;
         AdamHyperparameters adam;
         adam.weight_decay = 0;
         sparse_adam(bench.context(), tables->rows, {}, unique, gradients, rows_ever_used, state,
                     adam, table_seed);
       }}};
  return ladder;
}

}  // namespace memengine::bench
