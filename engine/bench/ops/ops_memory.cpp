// The memory layers' dense stages: queries, picks, projections. What depends on which rows are
// picked is in ops_rows.cpp.
#include "engine/bench/ops/bench_table.h"
#include "engine/bench/ops/ops.h"
#include "kernels/norm/batch_norm.h"
#include "kernels/norm/layer_norm.h"
#include "kernels/pointwise/swiglu.h"
#include "kernels/product_key/product_key.h"

namespace memengine::bench {

void OpBench::memory() {
  if (memory_layers_ == 0) return;
  const std::int64_t v_dim = model_.value_dim();
  const double calls = memory_layers_ * micro_batches_;
  linear("linear query", tokens_, dim_, memory_.mem_heads * memory_.mem_k_dim, true, calls);
  queries();
  const BenchTable table(bench_, model_);
  for (const PickPattern pattern : {PickPattern::uniform, PickPattern::skewed}) {
    rows(pattern, table);
    row_updates(pattern, table);
  }
  if (memory_.swilu_projection && !memory_.peer_variant) {
    linear("linear swilu", tokens_, dim_, v_dim, true, calls);
    linear("linear value_proj", tokens_, v_dim, dim_, true, calls);
    const Tensor x = activation({tokens_, v_dim});
    const Tensor gate = activation({tokens_, v_dim});
    const Tensor out = activation({tokens_, v_dim});
    const Tensor dx = activation({tokens_, v_dim});
    const Tensor dgate = activation({tokens_, v_dim});
    const std::string shape = format_text("[{}, {}]", tokens_, v_dim);
    const auto elements = static_cast<double>(x.size());
    measure("silu_gate forward", shape, 2 * calls, memory_work(3 * elements),
            [&] { silu_gate_forward(bench_.context(), out, x, gate); });
    measure("silu_gate backward", shape, calls, memory_work(5 * elements),
            [&] { silu_gate_backward(bench_.context(), dx, dgate, out, x, gate); });
    bench_.clear();
  }
}

void OpBench::queries() {
  const Context& context = bench_.context();
  const double calls = memory_layers_ * micro_batches_;
  const std::int64_t heads = memory_.mem_heads;
  const std::int64_t knn = memory_.mem_knn;
  const std::int64_t k_dim = memory_.mem_k_dim;
  const std::int64_t features = heads * k_dim;
  const Tensor query = activation({tokens_, heads, k_dim});
  const Tensor dquery = activation({tokens_, heads, k_dim});
  const auto query_elements = static_cast<double>(query.size());
  {
    const Tensor sub_keys = bench_.normal(dtype_, {heads, 2, memory_.mem_n_keys, k_dim / 2}, 0.05);
    const Tensor dsub_keys = bench_.zeros(DType::f32, {heads, 2, memory_.mem_n_keys, k_dim / 2});
    const Tensor indices = bench_.zeros(DType::i32, {tokens_, heads, knn});
    const Tensor weights = activation({tokens_, heads, knn});
    const Tensor dweights = activation({tokens_, heads, knn});
    bench_.reserve_scratch(product_key_scratch_bytes(
        context.device, {tokens_, heads, knn, memory_.mem_n_keys, k_dim, dtype_}));
    const std::string shape =
        format_text("[{}, {}, {}] knn {} of {}", tokens_, heads, k_dim, knn, memory_.mem_n_keys);
    measure("product_key forward", shape, calls,
            {0, 2 * query_elements * static_cast<double>(memory_.mem_n_keys), Limit::matrix},
            [&] { product_key_forward(context, indices, weights, query, sub_keys); });
    // Each pick reads two half keys for dquery and two half queries for dsub_keys.
    const double picked = 2 * query_elements * static_cast<double>(knn);
    measure("product_key backward", shape, calls, memory_work(picked + 2 * query_elements), [&] {
      product_key_backward(context, dquery, dsub_keys, dweights, weights, indices, query, sub_keys);
    });
  }
  const Tensor dout = activation({tokens_, heads, k_dim});
  const Tensor gain = bench_.normal(DType::f32, {heads, k_dim});
  const Tensor dgain = bench_.zeros(DType::f32, {heads, k_dim});
  const Tensor dshift = bench_.zeros(DType::f32, {heads, k_dim});
  const std::string shape = format_text("[{}, {}]", tokens_, features);
  if (memory_.mem_query_norm == QueryNorm::batchnorm) {
    bench_.reserve_scratch(batch_norm_scratch_bytes(context.device, tokens_, features));
    const auto flat = [&](const Tensor& tensor) {
      return tensor.reshape({tensor.size() / features, features});
    };
    const Tensor mean = bench_.zeros(DType::f32, {features});
    const Tensor inverse_std = bench_.zeros(DType::f32, {features});
    const Tensor running_mean = bench_.zeros(DType::f32, {features});
    const Tensor running_variance = bench_.zeros(DType::f32, {features});
    const Tensor weight = gain.reshape({features});
    const Tensor dweight = dgain.reshape({features});
    const Tensor dbias = dshift.reshape({features});
    // The batch is read for its statistics and again to be normalised.
    measure("batch_norm forward", shape, calls, memory_work(3 * query_elements), [&] {
      batch_norm_forward_train(context, flat(dquery), mean, inverse_std, running_mean,
                               running_variance, flat(query), weight, weight);
    });
    measure("batch_norm backward", shape, calls, memory_work(5 * query_elements), [&] {
      batch_norm_backward(context, flat(dquery), dweight, dbias, flat(dout), flat(query), mean,
                          inverse_std, weight);
    });
  } else if (memory_.mem_query_norm == QueryNorm::layernorm) {
    bench_.reserve_scratch(layer_norm_scratch_bytes(context.device, tokens_, features));
    const Tensor mean = bench_.zeros(DType::f32, {tokens_, heads});
    const Tensor inverse_std = bench_.zeros(DType::f32, {tokens_, heads});
    measure("layer_norm forward", shape, calls, memory_work(2 * query_elements),
            [&] { layer_norm_forward(context, dquery, mean, inverse_std, query, gain, gain); });
    measure("layer_norm backward", shape, calls, memory_work(3 * query_elements), [&] {
      layer_norm_backward(context, dquery, dgain, dshift, dout, query, mean, inverse_std, gain);
    });
  }
  bench_.clear();
}

}  // namespace memengine::bench
