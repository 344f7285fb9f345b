// What depends on which rows are picked, for the worst case and for a typical skew.
#include <algorithm>
#include <bit>

#include "engine/bench/ops/bench_table.h"
#include "engine/bench/ops/ops.h"
#include "engine/bench/ops/update_state.h"
#include "engine/config/row_optimizer_choice.h"
#include "kernels/bag/embedding_bag.h"
#include "kernels/table/staged_rows/staged_rows.h"
#include "optim/sparse_adam.h"

namespace memengine::bench {
namespace {

// Picks are read, their order and one more list are written. Between stand a histogram and passes
// of eight bits over (row, pick) pairs, which stay in the L2 cache at best.
Work sort_work(double picks, std::int64_t table_rows) {
  const int bits = std::bit_width(static_cast<std::uint64_t>(table_rows - 1));
  return {picks * (12 + 16 * ((bits + 7) / 8)), 0, Limit::memory, 12 * picks};
}

}  // namespace

// One lookup: sums of rows into bags, and the bag's gradient of the weights; from a table across
// the link after de-duplication and a gather, else in place.
void OpBench::rows(PickPattern pattern, const BenchTable& table) {
  const Context& context = bench_.context();
  const double calls = count(pattern, memory_layers_ * micro_batches_);
  const std::int64_t picks_per_token = memory_.mem_heads * memory_.mem_knn;
  const std::int64_t picked = tokens_ * picks_per_token;
  const std::int64_t v_dim = model_.value_dim();
  const std::int64_t table_rows = table.rows().rows;
  bench_.reserve_scratch(std::max(deduplicate_scratch_bytes(context.device, picked, table_rows),
                                  embedding_bag_scratch_bytes(context.device, picked, v_dim)));
  const Tensor picks = bench_.integers(random_picks(pattern, picked, table_rows, 11));
  const UniqueRows unique = allocate_unique(bench_, picked, table_rows);
  deduplicate(context, unique, picks, table_rows);
  const auto distinct = static_cast<double>(unique_count(bench_, unique));
  const auto all_picks = static_cast<double>(picked);
  const auto values = static_cast<double>(v_dim);
  const std::string shape =
      format_text("[{} x {}] of {}, {}: {:.1f}% distinct", tokens_, picks_per_token, table_rows,
                  pattern_name(pattern), 100 * distinct / all_picks);
  const double value_bytes = table.precision() == ValuePrecision::bf16 ? 2 : 4;
  const auto activation_bytes = static_cast<double>(element_bytes(dtype_));

  BagRows rows(table.rows(), table.precision());
  Tensor indices = picks.reshape({tokens_, picks_per_token});
  double row_bytes = values * value_bytes;
  if (memory_.zero_copy) {
    // Picks are read; their order and inverse are written.
    measure("deduplicate", shape, calls, sort_work(all_picks, table_rows),
            [&] { deduplicate(context, unique, picks, table_rows); });
    const Tensor gathered = bench_.normal(dtype_, {unique.capacity(), v_dim});
    const double written_bytes = table.across_link() ? 0 : activation_bytes;
    const Limit link = table.across_link() ? Limit::link_read : Limit::memory;
    measure("gather_rows", shape, calls,
            {distinct * values * (value_bytes + written_bytes), 0, link},
            [&] { gather_rows(context, gathered, table.rows(), unique, table.precision(), {}); });
    rows = BagRows(gathered);
    indices = unique.inverse.reshape({tokens_, picks_per_token});
    row_bytes = values * activation_bytes;
  }
  const Tensor weights = activation({tokens_, picks_per_token});
  const Tensor bag = activation({tokens_, v_dim});
  const double other_bytes =
      all_picks * (4 + activation_bytes) + static_cast<double>(bag.size()) * activation_bytes;
  const Work bag_work{all_picks * row_bytes + other_bytes, 0, Limit::memory,
                      distinct * row_bytes + other_bytes};
  measure("embedding_bag forward", shape, calls, bag_work,
          [&] { embedding_bag_forward(context, bag, rows, indices, weights); });
  measure("embedding_bag backward weights", shape, calls, bag_work,
          [&] { embedding_bag_backward_weights(context, weights, bag, rows, indices); });
  bench_.clear();
}

// An area for as many rows, without guests, none of them there yet.
StagedRows OpBench::allocate_staged(const ValueRows& table, std::int64_t capacity) {
  const StagedRows staged =
      staged_rows({.places = capacity, .guests = 0, .listed = capacity, .table_rows = table.rows},
                  table.layout, [&](DType dtype, std::initializer_list<std::int64_t> shape) {
                    return bench_.zeros(dtype, shape);
                  });
  empty_staging(bench_.context(), staged);
  return staged;
}

// Once a step and table: the picks of all readers merge, and their rows are updated.
void OpBench::row_updates(PickPattern pattern, const BenchTable& table) {
  const Context& context = bench_.context();
  const bool shared = memory_.mem_share_values;
  const double calls = count(pattern, shared ? 1 : memory_layers_);
  const double lookups = (shared ? memory_layers_ : 1) * micro_batches_;
  const std::int64_t tokens = tokens_ * static_cast<std::int64_t>(lookups);
  const std::int64_t picks_per_token = memory_.mem_heads * memory_.mem_knn;
  const std::int64_t picked = tokens * picks_per_token;
  const std::int64_t v_dim = model_.value_dim();
  const std::int64_t table_rows = table.rows().rows;
  const StagedSize staged_size = {.places = std::min(picked, table_rows),
                                  .guests = 0,
                                  .listed = std::min(picked, table_rows),
                                  .table_rows = table_rows};
  bench_.reserve_scratch(std::max({deduplicate_scratch_bytes(context.device, picked, table_rows),
                                   embedding_bag_scratch_bytes(context.device, picked, v_dim),
                                   plan_exchange_scratch_bytes(context.device, staged_size)}));
  const Tensor picks = bench_.integers(random_picks(pattern, picked, table_rows, 12));
  const UniqueRows unique = allocate_unique(bench_, picked, table_rows);
  deduplicate(context, unique, picks, table_rows);
  const auto distinct = static_cast<double>(unique_count(bench_, unique));
  const auto all_picks = static_cast<double>(picked);
  const auto values = static_cast<double>(v_dim);
  const std::string shape =
      format_text("[{} x {}] of {}, {}: {:.1f}% distinct", tokens, picks_per_token, table_rows,
                  pattern_name(pattern), 100 * distinct / all_picks);
  const auto activation_bytes = static_cast<double>(element_bytes(dtype_));

  UniqueRows listed = unique;  // what a step asks for
  listed.inverse = {};
  measure("deduplicate, whole step", shape, calls, sort_work(all_picks, table_rows),
          [&] { deduplicate(context, listed, picks, table_rows); });
  const Tensor row_gradients = bench_.normal(DType::f32, {unique.capacity(), v_dim}, 0.01);
  {
    const Tensor coefficients = activation({tokens, picks_per_token});
    const Tensor vectors = activation({tokens, v_dim});
    const Tensor square_sum = bench_.zeros(DType::f64, {1});
    const double list_bytes = all_picks * (8 + activation_bytes) + distinct * values * 4;
    measure("embedding_bag backward rows", shape, calls,
            {all_picks * values * activation_bytes + list_bytes, 0, Limit::memory,
             static_cast<double>(vectors.bytes()) + list_bytes},
            [&] {
              embedding_bag_backward_rows(context, row_gradients, square_sum, coefficients, vectors,
                                          listed);
            });
  }
  adam_on_rows(pattern, shape, calls, table, unique, row_gradients);
  bench_.clear();
}

// The rows' update. Rows of a host table come to GPU memory first, where those of the step before
// make room for them.
void OpBench::adam_on_rows(PickPattern pattern, const std::string& shape, double calls,
                           const BenchTable& table, const UniqueRows& unique,
                           Tensor row_gradients) {
  const Context& context = bench_.context();
  const std::int64_t table_rows = table.rows().rows;
  const auto distinct = static_cast<double>(unique_count(bench_, unique));
  const auto values = static_cast<double>(table.rows().v_dim());
  const UpdateState state = update_state(bench_);
  const Tensor rows_ever_used = bench_.zeros(DType::i32, {1});
  const auto row_bytes = static_cast<double>(RowOptimizer::bytes_per_row(table.rows().layout));
  const Limit link = table.across_link() ? Limit::link_both : Limit::memory;
  const double gradient_bytes = table.across_link() ? 0 : 4 * values;
  if (!row_optimizer(memory_).touches_only_picked_rows) {
    const auto every_row = static_cast<double>(table_rows);
    measure("dense_adam_rows", shape, calls,
            {2 * every_row * row_bytes + distinct * gradient_bytes, 0, link}, [&] {
              dense_adam_rows(context, table.rows(), unique, row_gradients, rows_ever_used, state,
                              {});
            });
    return;
  }
  const double moved_bytes = 2 * row_bytes;  // to and fro
  // What has no room in GPU memory is updated over the link; here all has.
  measure(memory_.zero_copy ? "sparse_adam in the table" : "sparse_adam", shape,
          memory_.zero_copy ? 0 : calls, {distinct * (moved_bytes + gradient_bytes), 0, link}, [&] {
            sparse_adam(context, table.rows(), {}, unique, row_gradients, rows_ever_used, state, {},
                        5);
          });
  if (memory_.zero_copy) {
    const std::int64_t picked = unique.inverse.size();
    const UniqueRows other = allocate_unique(bench_, picked, table_rows);
    const Tensor picks = bench_.integers(random_picks(pattern, picked, table_rows, 13));
    deduplicate(context, other, picks, table_rows);
    const StagedRows staged = allocate_staged(table.rows(), unique.capacity());
    plan_exchange(context, staged, unique);
    exchange_rows(context, staged, table.rows(), ExchangePace::alone);
    plan_exchange(context, staged, other);
    std::int32_t moves[2] = {0, 0};
    copy_bytes(context, moves, staged.moves.data(), sizeof(moves));
    exchange_rows(context, staged, table.rows(), ExchangePace::alone);
    bench_.runtime().synchronize();
    const double moved_rows = moves[0] + moves[1];
    // From one list to the other and back. A step copies beside its forward and backward pass.
    measure("exchange_rows alone, with its plan", shape, calls / 2,
            {2 * moved_rows * row_bytes, 0, link}, [&] {
              for (const UniqueRows& list : {unique, other}) {
                plan_exchange(context, staged, list);
                exchange_rows(context, staged, table.rows(), ExchangePace::alone);
              }
            });
    plan_exchange(context, staged, unique);
    exchange_rows(context, staged, table.rows(), ExchangePace::alone);
    measure("sparse_adam", shape, calls, {distinct * (moved_bytes + 4 * values), 0, Limit::memory},
            [&] {
              sparse_adam(context, table.rows(), staged, unique, row_gradients, rows_ever_used,
                          state, {}, 5);
            });
  }
}

}  // namespace memengine::bench
