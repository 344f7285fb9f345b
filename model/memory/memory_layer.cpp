// The memory layer, every stage's forward and backward side by side.
#include "model/memory/memory_layer.h"

#include <algorithm>
#include <cmath>

#include "kernels/bag/embedding_bag.h"
#include "kernels/bag/expert_bag.h"
#include "kernels/linear/linear.h"
#include "kernels/pointwise/elementwise.h"
#include "kernels/pointwise/sigmoid_gate.h"
#include "kernels/pointwise/swiglu.h"
#include "kernels/product_key/product_key.h"
#include "kernels/product_key/silence_picks.h"
#include "kernels/runtime/runtime.h"
#include "model/initial_std.h"

namespace memengine {

MemoryLayer::MemoryLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer,
                         std::int64_t reader, std::int64_t readers)
    : config_(config.productkey_args),
      dim_(config.dim),
      v_dim_(config.value_dim()),
      picks_(config_.mem_heads * config_.mem_knn),
      reader_(reader),
      readers_(readers),
      sub_keys_(store.declare(
          {{feed_forward_name(layer, "keys"), 2 * config_.mem_heads * config_.mem_n_keys,
            Initializer::uniform(1.0 / std::sqrt(static_cast<double>(config_.mem_k_dim)))}},
          config_.half_dim())),
      query_weight_(store.declare(
          {{feed_forward_name(layer, "query_proj.query_mlps.0.weight"),
            config_.mem_heads * config_.mem_k_dim,
            // Xavier: sqrt(6 / (fan_in + fan_out)).
            Initializer::uniform(std::sqrt(
                6.0 / static_cast<double>(config.dim + config_.mem_heads * config_.mem_k_dim)))}},
          config.dim)),
      query_bias_(store.declare({{feed_forward_name(layer, "query_proj.query_mlps.0.bias"),
                                  config_.mem_heads * config_.mem_k_dim, Initializer::constant(0)}},
                                0)) {
  if (config_.mem_query_norm != QueryNorm::none) query_norm_.emplace(store, config, layer);
  const auto declare_linear = [&](const char* name, std::int64_t outputs, std::int64_t inputs,
                                  Parameter*& weight, Parameter*& bias) {
    const std::string prefix = feed_forward_name(layer, name);
    const double deviation = 1.0 / std::sqrt(static_cast<double>(dim_));
    weight =
        &store.declare({{prefix + ".weight", outputs, Initializer::normal(deviation)}}, inputs);
    bias = &store.declare({{prefix + ".bias", outputs, Initializer::constant(0)}}, 0);
  };
  const bool swilu = config_.swilu_projection && !config_.peer_variant;
  if (swilu || config_.mem_v_dim > 0) {
    declare_linear("value_proj", dim_, v_dim_, value_proj_weight_, value_proj_bias_);
  }
  if (swilu) declare_linear("swilu_projection", v_dim_, dim_, swilu_weight_, swilu_bias_);
  if (config_.mem_gated) declare_linear("gating", 1, dim_, gating_weight_, gating_bias_);
}

void MemoryLayer::plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
                       Wanted wanted) {
  tokens_ = tokens;
  dtype_ = dtype;
  const std::int64_t capacity = bank_->lookup_capacity();
  // Values alone, in the lowest trained layer, have their gradients without a way back through the
  // picks and the query.
  const bool through_query =
      wanted == Wanted::input || (wanted == Wanted::parameters && is_trained());
  Arena& for_query = through_query ? kept : temporary;
  const auto keep = [&](std::initializer_list<std::int64_t> shape) {
    return kept.allocate("activations", dtype, shape);
  };
  const auto borrow = [&](std::initializer_list<std::int64_t> shape) {
    return temporary.allocate("activations", dtype, shape);
  };
  const auto plan_query = [&] {
    return for_query.allocate("activations", dtype, {tokens, config_.mem_heads, config_.mem_k_dim});
  };
  query_ = plan_query();
  if (query_norm_) {
    projected_ = plan_query();
    query_norm_->plan(for_query, tokens, dtype);
  }
  if (!bank_->reads_in_place()) {
    inverse_ = bank_->only_inverse();
    inverse_ = inverse_.empty() ? kept.allocate("memory layers", DType::i32, {tokens, picks_})
                                : inverse_.reshape({tokens, picks_});
  }
  const bool gathers = !bank_->reads_in_place() && !bank_->reads_by_place();
  const DType gathered = bank_->gathered_dtype(dtype);
  if (gathers) {
    Arena& arena = config_.peer_variant ? kept : for_query;
    rows_ = arena.allocate("memory layers", gathered, {capacity, v_dim_});
  }
  bag_ = keep({tokens, v_dim_});
  gated_bag_ = borrow({tokens, v_dim_});
  if (has_swilu()) swilu_gate_ = keep({tokens, v_dim_});
  if (is_gated()) {
    gate_ = keep({tokens, 1});
    ungated_ = keep({tokens, dim_});
  }
  if (config_.peer_variant) {
    weights_ = keep({tokens, picks_});
    if (gathers) {
      expert_rows_ = kept.allocate("memory layers", gathered, {capacity, v_dim_});
    }
    expert_activations_ = keep({tokens, picks_});
  }
  if (wanted == Wanted::nothing) {
    coefficients_ = borrow({tokens, picks_});
    return;
  }
  dcoefficients_ = borrow({tokens, picks_});
  dquery_ = borrow({tokens, config_.mem_heads, config_.mem_k_dim});
  if (has_swilu()) dswilu_gate_ = borrow({tokens, v_dim_});
  if (is_gated()) {
    dungated_ = borrow({tokens, dim_});
    dgate_ = borrow({tokens, 1});
  }
  if (config_.peer_variant) {
    dweights_ = borrow({tokens, picks_});
    dx_experts_ = borrow({tokens, dim_});
  }
}

Tensor MemoryLayer::by_head(const Tensor& picks) const {
  return picks.reshape({picks.dim(0), config_.mem_heads, config_.mem_knn});
}

Tensor MemoryLayer::sub_keys(const Tensor& block) const {
  return block.reshape({config_.mem_heads, 2, config_.mem_n_keys, config_.half_dim()});
}

// --- The layer -----------------------------------------------------------------------------------

void MemoryLayer::forward(const Context& context, Tensor out, Tensor x, Mode mode,
                          std::int64_t micro_batch) {
  const std::int64_t tokens = x.dim(0);
  // Inference has one slot for all readers.
  const std::int64_t slot = bank_->slots() > 1 ? this->slot(micro_batch) : 0;
  const Tensor coefficients = coefficients_.empty() ? bank_->values().coefficients(slot, tokens)
                                                    : cut(coefficients_, tokens);
  if (silence_.layer) return fill_zero(context, out);
  query(context, x, mode);
  look_up(context, x, coefficients, slot);
  if (silence_.picks()) {
    silence_picks(context, by_head(coefficients), by_head(bank_->picks(slot, tokens)),
                  silence_.heads, silence_.rows);
  }
  embedding_bag_forward(context, cut(bag_, tokens), bank_->values().bag_rows(rows_),
                        row_indices(slot, tokens), coefficients);
  project(context, out, x);
}

void MemoryLayer::backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                           std::int64_t micro_batch) {
  const std::int64_t slot = this->slot(micro_batch);
  const Tensor dbag = bank_->values().vectors(slot, x.dim(0));  // waits there for the other readers
  backward_project(context, dbag, dx, dout, x);
  const bool through_query = is_trained() || !dx.empty();
  if (!through_query && !config_.peer_variant) return;  // the values alone: dbag is all they need
  backward_look_up(context, dx, dbag, x, slot);
  if (through_query) backward_query(context, dx, x);
}

void MemoryLayer::start_silent(const Context& context, std::uint64_t seed) const {
  if (!has_projection()) return bank_->values().initialize(context, seed, 0);
  fill_zero(context, value_proj_weight_->value);
  fill_zero(context, value_proj_bias_->value);
}

// --- Query: norm(W_q x + b) ----------------------------------------------------------------------

void MemoryLayer::query(const Context& context, Tensor x, Mode mode) {
  const std::int64_t tokens = x.dim(0);
  const Tensor query = cut(query_, tokens);
  const Tensor projected = query_norm_ ? cut(projected_, tokens) : query;
  linear_forward(context, projected.reshape({tokens, config_.mem_heads * config_.mem_k_dim}), x,
                 query_weight_.compute, query_bias_.compute);
  if (query_norm_) query_norm_->forward(context, query, projected, mode);
}

// The last writer of dx: adds the path through the query.
void MemoryLayer::backward_query(const Context& context, Tensor dx, Tensor x) {
  const std::int64_t tokens = x.dim(0);
  const Tensor dquery = cut(dquery_, tokens);
  if (query_norm_) query_norm_->backward(context, dquery, dquery, cut(projected_, tokens));
  const Tensor flat = dquery.reshape({tokens, config_.mem_heads * config_.mem_k_dim});
  if (is_trained()) {
    linear_backward_weight(context, query_weight_.gradient, query_bias_.gradient, flat, x);
  }
  if (!dx.empty()) linear_backward_input(context, dx, flat, query_weight_.compute, true);
}

// --- Look-up: picks, distinct rows, coefficients of the bag --------------------------------------

Tensor MemoryLayer::row_indices(std::int64_t slot, std::int64_t tokens) const {
  return bank_->reads_in_place() ? bank_->picks(slot, tokens) : cut(inverse_, tokens);
}

void MemoryLayer::look_up(const Context& context, Tensor x, Tensor coefficients,
                          std::int64_t slot) {
  const std::int64_t tokens = x.dim(0);
  const Tensor picks = bank_->picks(slot, tokens);
  const Tensor weights = config_.peer_variant ? cut(weights_, tokens) : coefficients;
  product_key_forward(context, by_head(picks), by_head(weights), cut(query_, tokens),
                      sub_keys(sub_keys_.compute));
  if (bank_->is_spread()) {
    const Tensor out[2] = {config_.peer_variant ? expert_rows_ : rows_, rows_};
    bank_->fetch(context, out, cut(inverse_, tokens).reshape({tokens * picks_}), slot, tokens);
  } else if (bank_->reads_by_place()) {
    bank_->locate(context, cut(inverse_, tokens).reshape({tokens * picks_}), slot, tokens);
  } else if (!bank_->reads_in_place()) {
    const UniqueRows unique = bank_->lookup(cut(inverse_, tokens).reshape({tokens * picks_}));
    deduplicate(context, unique, picks.reshape({tokens * picks_}), config_.rows());
    bank_->values().gather(context, rows_, unique, bank_->decay());
    if (config_.peer_variant) {
      bank_->experts().gather(context, expert_rows_, unique, bank_->decay());
    }
  }
  if (config_.peer_variant) {
    expert_bag_forward(context, coefficients, cut(expert_activations_, tokens), x,
                       bank_->experts().bag_rows(expert_rows_), row_indices(slot, tokens), weights);
  }
}

void MemoryLayer::backward_look_up(const Context& context, Tensor dx, Tensor dbag, Tensor x,
                                   std::int64_t slot) {
  const std::int64_t tokens = x.dim(0);
  const Tensor indices = row_indices(slot, tokens);
  const Tensor dcoefficients = cut(dcoefficients_, tokens);
  Tensor weights = bank_->values().coefficients(slot, tokens);
  Tensor dweights = dcoefficients;
  embedding_bag_backward_weights(context, dcoefficients, dbag, bank_->values().bag_rows(rows_),
                                 indices);
  if (config_.peer_variant) {
    weights = cut(weights_, tokens);
    dweights = cut(dweights_, tokens);
    const Tensor dactivations = bank_->experts().coefficients(slot, tokens);
    const Tensor vectors = bank_->experts().vectors(slot, tokens);
    const Tensor dx_experts = cut(dx_experts_, tokens);
    expert_bag_backward(context, dweights, dactivations, dcoefficients,
                        cut(expert_activations_, tokens), weights);
    copy_bytes(context, vectors.data(), x.data(), x.bytes());
    if (!dx.empty()) {
      embedding_bag_forward(context, dx_experts, bank_->experts().bag_rows(expert_rows_), indices,
                            dactivations);
      add(context, dx, dx, dx_experts);
    }
  }
  if (!is_trained() && dx.empty()) return;
  product_key_backward(context, cut(dquery_, tokens),
                       is_trained() ? sub_keys(sub_keys_.gradient) : Tensor(), by_head(dweights),
                       by_head(weights), by_head(bank_->picks(slot, tokens)), cut(query_, tokens),
                       sub_keys(sub_keys_.compute));
}

MemoryLookup MemoryLayer::last_lookup(std::int64_t micro_batch, std::int64_t tokens) const {
  const std::int64_t slot = bank_->slots() > 1 ? this->slot(micro_batch) : 0;
  Tensor weights = coefficients_.empty() ? bank_->values().coefficients(slot, tokens)
                                         : cut(coefficients_, tokens);
  if (config_.peer_variant) weights = cut(weights_, tokens);
  return {cut(query_, tokens), sub_keys(sub_keys_.compute), by_head(bank_->picks(slot, tokens)),
          by_head(weights), has_swilu() ? cut(swilu_gate_, tokens) : Tensor()};
}

// --- Output: value_proj(bag * silu(swilu_projection(x))), then the sigmoid gate ------------------

void MemoryLayer::project(const Context& context, Tensor out, Tensor x) {
  const std::int64_t tokens = x.dim(0);
  const Tensor bag = cut(bag_, tokens);
  const Tensor ungated = is_gated() ? cut(ungated_, tokens) : out;
  Tensor values = bag;
  if (has_swilu()) {
    values = cut(gated_bag_, tokens);
    linear_forward(context, cut(swilu_gate_, tokens), x, swilu_weight_->compute,
                   swilu_bias_->compute);
    silu_gate_forward(context, values, bag, cut(swilu_gate_, tokens));
  }
  if (has_projection()) {
    linear_forward(context, ungated, values, value_proj_weight_->compute,
                   value_proj_bias_->compute);
  } else {
    copy_bytes(context, ungated.data(), values.data(), values.bytes());
  }
  if (is_gated()) {
    linear_forward(context, cut(gate_, tokens), x, gating_weight_->compute, gating_bias_->compute);
    sigmoid_gate_forward(context, out, ungated, cut(gate_, tokens));
  }
}

// The first writer of dx: the paths through the gates, or zero.
void MemoryLayer::backward_project(const Context& context, Tensor dbag, Tensor dx, Tensor dout,
                                   Tensor x) {
  const std::int64_t tokens = x.dim(0);
  const Tensor bag = cut(bag_, tokens);
  if (!dx.empty() && !is_gated() && !has_swilu()) fill_zero(context, dx);
  Tensor dungated = dout;
  if (is_gated()) {
    dungated = cut(dungated_, tokens);
    const Tensor dgate = cut(dgate_, tokens);
    sigmoid_gate_backward(context, dungated, dgate, dout, cut(ungated_, tokens),
                          cut(gate_, tokens));
    if (is_trained()) {
      linear_backward_weight(context, gating_weight_->gradient, gating_bias_->gradient, dgate, x);
    }
    if (!dx.empty()) linear_backward_input(context, dx, dgate, gating_weight_->compute, false);
  }
  if (!has_projection()) {
    copy_bytes(context, dbag.data(), dungated.data(), dungated.bytes());
    return;
  }
  Tensor values = bag;
  if (has_swilu()) {
    values = cut(gated_bag_, tokens);
    silu_gate_forward(context, values, bag, cut(swilu_gate_, tokens));
  }
  if (is_trained()) {
    linear_backward_weight(context, value_proj_weight_->gradient, value_proj_bias_->gradient,
                           dungated, values);
  }
  linear_backward_input(context, dbag, dungated, value_proj_weight_->compute, false);
  if (has_swilu()) {
    const Tensor dgate = cut(dswilu_gate_, tokens);
    silu_gate_backward(context, dbag, dgate, dbag, bag, cut(swilu_gate_, tokens));
    if (is_trained()) {
      linear_backward_weight(context, swilu_weight_->gradient, swilu_bias_->gradient, dgate, x);
    }
    if (!dx.empty()) {
      linear_backward_input(context, dx, dgate, swilu_weight_->compute, is_gated());
    }
  }
}

// --- Figures -------------------------------------------------------------------------------------

std::int64_t MemoryLayer::multiply_adds() const {
  const std::int64_t query_size = config_.mem_heads * config_.mem_k_dim;
  std::int64_t count = dim_ * query_size;    // query
  count += query_size * config_.mem_n_keys;  // both halves' scores
  count += picks_ * v_dim_;                  // bag
  if (has_projection()) count += dim_ * v_dim_;
  if (has_swilu()) count += dim_ * v_dim_;
  if (is_gated()) count += dim_;
  if (config_.peer_variant) count += picks_ * v_dim_;
  return count;
}

std::int64_t MemoryLayer::scratch_bytes(Device device) const {
  const ProductKeyShape shape{
      tokens_, config_.mem_heads, config_.mem_knn, config_.mem_n_keys, config_.mem_k_dim, dtype_};
  std::int64_t bytes = product_key_scratch_bytes(device, shape);
  if (query_norm_) bytes = std::max(bytes, query_norm_->scratch_bytes(device));
  bytes = std::max(bytes, deduplicate_scratch_bytes(device, tokens_ * picks_,
                                                    bank_->values().owners().numbers()));
  bytes = std::max(bytes, bank_->locate_scratch_bytes(device));
  bytes =
      std::max(bytes, linear_scratch_bytes(device, tokens_, config_.mem_heads * config_.mem_k_dim));
  bytes = std::max(bytes, linear_scratch_bytes(device, tokens_, std::max(dim_, v_dim_)));
  return std::max(bytes, embedding_bag_scratch_bytes(device, tokens_ * picks_, v_dim_));
}

}  // namespace memengine
