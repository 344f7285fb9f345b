// The ops around the memory layers: what a dense transformer's step consists of.
#include <numeric>

#include "engine/bench/ops/ops.h"
#include "kernels/attention/attention.h"
#include "kernels/cross_entropy.h"
#include "kernels/embedding.h"
#include "kernels/norm/rms_norm.h"
#include "kernels/pointwise/swiglu.h"
#include "kernels/rope.h"
#include "model/head.h"

namespace memengine::bench {
namespace {

std::vector<std::int32_t> random_integers(std::int64_t count, std::int64_t below) {
  return random_picks(PickPattern::uniform, count, below, 3);
}

}  // namespace

void OpBench::transformer() {
  const Context& context = bench_.context();
  const auto n = static_cast<double>(tokens_);
  const auto c = static_cast<double>(dim_);
  const double every_layer = layers_ * micro_batches_;

  {
    bench_.reserve_scratch(embedding_scratch_bytes(context.device, tokens_, model_.vocab_size));
    const Tensor weight = activation({model_.vocab_size, dim_});
    const Tensor tokens = bench_.integers(random_integers(tokens_, model_.vocab_size));
    const Tensor out = activation({tokens_, dim_});
    const Tensor dweight = bench_.zeros(DType::f32, {model_.vocab_size, dim_});
    const std::string shape = format_text("[{}, {}] of {}", tokens_, dim_, model_.vocab_size);
    measure("embedding forward", shape, micro_batches_, memory_work(2 * n * c),
            [&] { embedding_forward(context, out, tokens, weight); });
    measure("embedding backward", shape, micro_batches_,
            {n * c * (static_cast<double>(element_bytes(dtype_)) + 8), 0, Limit::memory},
            [&] { embedding_backward(context, dweight, out, tokens); });
    bench_.clear();
  }
  {
    bench_.reserve_scratch(rms_norm_scratch_bytes(context.device, tokens_, dim_));
    const Tensor x = activation({tokens_, dim_});
    const Tensor branch = activation({tokens_, dim_});
    const Tensor sum = activation({tokens_, dim_});
    const Tensor out = activation({tokens_, dim_});
    const Tensor weight = bench_.normal(DType::f32, {dim_});
    const Tensor dweight = bench_.zeros(DType::f32, {dim_});
    const Tensor inverse_rms = bench_.zeros(DType::f32, {tokens_});
    const std::string shape = format_text("[{}, {}]", tokens_, dim_);
    measure("rms_norm forward, residual", shape, 2 * every_layer, memory_work(4 * n * c),
            [&] { rms_norm_forward(context, out, sum, inverse_rms, x, branch, weight, 1e-5); });
    // The model's first norm.
    measure("rms_norm forward", shape, micro_batches_, memory_work(2 * n * c),
            [&] { rms_norm_forward(context, out, {}, inverse_rms, x, {}, weight, 1e-5); });
    measure("rms_norm backward", shape, 2 * every_layer + micro_batches_, memory_work(4 * n * c),
            [&] { rms_norm_backward(context, sum, dweight, out, branch, x, inverse_rms, weight); });
    bench_.clear();
  }
  {
    const AttentionShape shape{model_.heads(), model_.kv_heads(), model_.head_size()};
    const std::int64_t all_heads = shape.heads + 2 * shape.kv_heads;
    const bool adds = micro_batches_ > 1;  // most weight gradients to those of other micro-batches
    linear("linear qkv", tokens_, dim_, all_heads * shape.head_dim, false, every_layer, adds);
    linear("linear attention out", tokens_, shape.heads * shape.head_dim, dim_, false, every_layer,
           adds);
    bench_.reserve_scratch(attention_scratch_bytes(context.device, dtype_, batch_, length_, shape));
    std::vector<std::int32_t> places(static_cast<std::size_t>(tokens_));
    for (std::size_t i = 0; i < places.size(); ++i) {
      places[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) % length_);
    }
    const Tensor positions = bench_.integers(places);
    const Tensor qkv = activation({batch_, length_, all_heads, shape.head_dim});
    const Tensor dqkv = activation({batch_, length_, all_heads, shape.head_dim});
    const Tensor out = activation({batch_, length_, shape.heads, shape.head_dim});
    const Tensor dout = activation({batch_, length_, shape.heads, shape.head_dim});
    const Tensor log_sum_exp = bench_.zeros(DType::f32, {batch_, shape.heads, length_});
    const Tensor by_head = dqkv.reshape({tokens_, all_heads, shape.head_dim});
    const std::int64_t rotated = shape.heads + shape.kv_heads;
    const double turned = 2 * n * static_cast<double>(rotated * shape.head_dim);
    const std::string rope_shape = format_text("[{}, {}, {}]", tokens_, rotated, shape.head_dim);
    measure("rope forward", rope_shape, every_layer, memory_work(turned),
            [&] { rope_forward(context, by_head, positions, rotated, model_.rope_theta); });

    Tensor first_visible;
    const std::int64_t window = model_.sliding_window.value_or(0);
    double seen = static_cast<double>(length_) / 2;
    if (window > 0) {
      first_visible = bench_.zeros(DType::i32, {tokens_}).reshape({batch_, length_});
      visible_range(context, first_visible, {}, window);
      seen = std::min(seen, static_cast<double>(window));
    }
    // A product costs 2 FLOPs per key and element: two products forward, five backward.
    const double product = 2 * n * seen * static_cast<double>(shape.heads * shape.head_dim);
    const std::string text = format_text("[{}, {}, {}+2*{}, {}]", batch_, length_, shape.heads,
                                         shape.kv_heads, shape.head_dim);
    measure("attention forward", text, every_layer, {0, 2 * product, Limit::matrix},
            [&] { attention_forward(context, out, log_sum_exp, qkv, first_visible, shape); });
    measure("attention and rope backward", text, every_layer, {0, 5 * product, Limit::matrix}, [&] {
      attention_backward(context, dqkv, dout, qkv, out, log_sum_exp, first_visible, shape,
                         {positions, model_.rope_theta});
    });
    bench_.clear();
  }
  if (dense_layers_ > 0) {
    const std::int64_t hidden = model_.ffn_hidden();
    const double calls = dense_layers_ * micro_batches_;
    const double elements = n * static_cast<double>(hidden);
    const bool adds = micro_batches_ > 1;
    linear("linear gate and up", tokens_, dim_, 2 * hidden, false, calls, adds);
    linear("linear down", tokens_, hidden, dim_, false, calls, adds);
    const Tensor gate_up = activation({tokens_, 2 * hidden});
    const Tensor dgate_up = activation({tokens_, 2 * hidden});
    const Tensor out = activation({tokens_, hidden});
    const std::string shape = format_text("[{}, {}]", tokens_, hidden);
    measure("swiglu forward", shape, calls, memory_work(3 * elements),
            [&] { swiglu_forward(context, out, gate_up); });
    measure("swiglu backward, forward again", shape, calls, memory_work(6 * elements),
            [&] { swiglu_backward(context, dgate_up, out, gate_up); });
    bench_.clear();
  }
  {
    ParameterStore store;
    Head head(store, model_, nullptr);
    Arena planned;
    head.plan(planned, tokens_, dtype_);
    const std::int64_t chunk = head.chunk_tokens();
    const double calls = n / static_cast<double>(chunk) * micro_batches_;
    linear("linear head", chunk, dim_, model_.vocab_size, false, calls);
    const Tensor logits = activation({chunk, model_.vocab_size});
    const Tensor losses = bench_.zeros(DType::f32, {chunk});
    const Tensor targets = bench_.integers(random_integers(chunk, model_.vocab_size));
    measure("cross_entropy", format_text("[{}, {}]", chunk, model_.vocab_size), calls,
            memory_work(2 * static_cast<double>(logits.size())),
            [&] { cross_entropy(context, losses, logits, targets, 1.0); });
    bench_.clear();
  }
}

}  // namespace memengine::bench
