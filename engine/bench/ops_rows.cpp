// What depends on which rows are picked, for the worst case and for a typical skew.
#include <algorithm>

#include "engine/bench/bench_table.h"
#include "engine/bench/ops.h"
#include "engine/bench/update_state.h"
#include "kernels/embedding_bag.h"
#include "kernels/reduce.h"
#include "optim/sparse_adam.h"

namespace memengine::bench {

// One lookup: de-duplicate, gather, sum into bags, and the bag's gradient of the weights.
void OpBench::rows(PickPattern pattern, const BenchTable& table) {
  const Context& context = bench_.context();
  const double calls = count(pattern, memory_layers_ * micro_batches_);
  const std::int64_t picks_a_token = memory_.mem_heads * memory_.mem_knn;
  const std::int64_t picked = tokens_ * picks_a_token;
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
      format_text("[{} x {}] of {}, {}: {:.1f}% distinct", tokens_, picks_a_token, table_rows,
                  pattern_name(pattern), 100 * distinct / all_picks);

  // Picks are read; their order and inverse are written.
  measure("deduplicate", shape, calls, {12 * all_picks, 0, Limit::memory},
          [&] { deduplicate(context, unique, picks, table_rows); });
  const Tensor gathered = bench_.normal(dtype_, {unique.capacity(), v_dim});
  const double read_bytes = table.precision() == ValuePrecision::bf16 ? 2 : 4;
  const double written_bytes = table.across_link() ? 0 : static_cast<double>(element_bytes(dtype_));
  const Limit link = table.across_link() ? Limit::link_read : Limit::memory;
  measure("gather_rows", shape, calls, {distinct * values * (read_bytes + written_bytes), 0, link},
          [&] { gather_rows(context, gathered, table.rows(), unique, table.precision(), {}); });

  const Tensor inverse = unique.inverse.reshape({tokens_, picks_a_token});
  const Tensor weights = activation({tokens_, picks_a_token});
  const Tensor bag = activation({tokens_, v_dim});
  const Work bag_work = memory_work((all_picks + static_cast<double>(tokens_)) * values);
  measure("embedding_bag forward", shape, calls, bag_work,
          [&] { embedding_bag_forward(context, bag, gathered, inverse, weights); });
  measure("embedding_bag backward weights", shape, calls, bag_work,
          [&] { embedding_bag_backward_weights(context, weights, bag, gathered, inverse); });
  bench_.clear();
}

// Once a step and table: the picks of all readers merge, and their rows are updated.
void OpBench::row_updates(PickPattern pattern, const BenchTable& table) {
  const Context& context = bench_.context();
  const bool shared = memory_.mem_share_values;
  const double calls = count(pattern, shared ? 1 : memory_layers_);
  const double lookups = (shared ? memory_layers_ : 1) * micro_batches_;
  const std::int64_t tokens = tokens_ * static_cast<std::int64_t>(lookups);
  const std::int64_t picks_a_token = memory_.mem_heads * memory_.mem_knn;
  const std::int64_t picked = tokens * picks_a_token;
  const std::int64_t v_dim = model_.value_dim();
  const std::int64_t table_rows = table.rows().rows;
  bench_.reserve_scratch(
      std::max({deduplicate_scratch_bytes(context.device, picked, table_rows),
                embedding_bag_scratch_bytes(context.device, picked, v_dim),
                reduce_scratch_bytes(context.device, std::min(picked, table_rows) * v_dim)}));
  const Tensor picks = bench_.integers(random_picks(pattern, picked, table_rows, 12));
  const UniqueRows unique = allocate_unique(bench_, picked, table_rows);
  deduplicate(context, unique, picks, table_rows);
  const auto distinct = static_cast<double>(unique_count(bench_, unique));
  const auto all_picks = static_cast<double>(picked);
  const auto values = static_cast<double>(v_dim);
  const std::string shape =
      format_text("[{} x {}] of {}, {}: {:.1f}% distinct", tokens, picks_a_token, table_rows,
                  pattern_name(pattern), 100 * distinct / all_picks);
  const auto activation_bytes = static_cast<double>(element_bytes(dtype_));

  measure("deduplicate, whole step", shape, calls, {12 * all_picks, 0, Limit::memory},
          [&] { deduplicate(context, unique, picks, table_rows); });
  const Tensor row_gradients = bench_.normal(DType::f32, {unique.capacity(), v_dim}, 0.01);
  {
    const Tensor coefficients = activation({tokens, picks_a_token});
    const Tensor vectors = activation({tokens, v_dim});
    measure("embedding_bag backward rows", shape, calls,
            {(all_picks * activation_bytes + distinct * 4) * values, 0, Limit::memory}, [&] {
              embedding_bag_backward_rows(context, row_gradients, coefficients, vectors, unique);
            });
  }
  const Tensor square_sum = bench_.zeros(DType::f64, {1});
  measure("square_sum_rows", shape, calls, {distinct * values * 4, 0, Limit::memory},
          [&] { square_sum_rows(context, square_sum, row_gradients, unique.count); });

  const UpdateState state = update_state(bench_);
  const Tensor rows_ever_used = bench_.zeros(DType::i32, {1});
  const RecordLayout& layout = table.rows().layout;
  const auto state_bytes = static_cast<double>(2 * (layout.bytes() + 2 * v_dim));  // both ways
  const Limit link = table.across_link() ? Limit::link_both : Limit::memory;
  const double gradient_bytes = table.across_link() ? 0 : 4 * values;
  if (memory_.value_optimizer == ValueOptimizer::sparse_adam) {
    measure("sparse_adam", shape, calls, {distinct * (state_bytes + gradient_bytes), 0, link}, [&] {
      sparse_adam(context, table.rows(), {}, unique, row_gradients, rows_ever_used, state, {}, 5);
    });
  } else {
    const auto every_row = static_cast<double>(table_rows);
    measure("dense_adam_rows", shape, calls,
            {every_row * state_bytes + distinct * gradient_bytes, 0, link}, [&] {
              dense_adam_rows(context, table.rows(), unique, row_gradients, rows_ever_used, state,
                              {});
            });
  }
  bench_.clear();
}

}  // namespace memengine::bench
