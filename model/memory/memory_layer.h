// The product-key memory layer (Lample et al. 2019; Berges et al. 2024).
//
// For N tokens x [N, C], H heads, K = H * knn picks per token:
//
//     query            = norm(W_q x + b)                       [N, H, k_dim]
//     indices, weights = knn best product keys, softmax        [N, K]      product_key.h
//     unique           = the distinct rows among the picks     U rows      deduplicate.h
//     rows             = those rows from the table             [U, v_dim]  value_rows.h
//     bag              = sum over picks of weight * row        [N, v_dim]  embedding_bag.h
//     out              = value_proj(bag * silu(swilu_projection(x)))       [N, C]
//
// A table in the device's own memory needs neither the third nor the fourth line: the bag reads its
// rows where they lie (bag_rows.h). With several ranks the fourth line asks the rows' owners. By
// config the last line is value_proj(bag) or the bag itself; the PEER variant replaces the weights
// by weight * gelu(<x, u_row>) and has no projection; `mem_gated` multiplies by sigmoid(gating(x)).
// The table's gradients do not leave through backward(): they wait in the bank (memory_bank.h) for
// the other readers.
#pragma once

#include <cstdint>
#include <optional>

#include "model/feed_forward.h"
#include "model/memory/memory_bank.h"
#include "model/memory/query_norm.h"

namespace memengine {

// What the last forward() looked up, until the backward pass. [N, H, ...] as in product_key.h.
struct MemoryLookup {
  Tensor query;     // [N, H, k_dim]
  Tensor sub_keys;  // [H, 2, n_keys, k_dim / 2]
  Tensor picks;     // [N, H, knn] i32
  Tensor weights;   // [N, H, knn], softmax over knn
  Tensor gate;      // [N, v_dim] swilu_projection(x) before its silu; empty without one
};

// What of a memory layer is silenced, to see what a model does without it: evaluation only. The
// tensors are on the device and outlive their use.
struct Silence {
  bool layer = false;  // the whole layer: its output is zero, biases too, and it looks nothing up
  Tensor heads,
      rows;  // u8 [H], u8 [rows]: picks of no weight (kernels/product_key/silence_picks.h)

  bool picks() const { return !heads.empty() || !rows.empty(); }
};

class MemoryLayer : public FeedForwardLayer {
 public:
  // `reader` counts the layers that read `bank` before this one, `readers` all of them.
  MemoryLayer(ParameterStore& store, const ModelConfig& config, std::int64_t layer,
              std::int64_t reader, std::int64_t readers);

  // The bank is built after all layers are known; set before plan().
  void attach(const MemoryBank& bank) { bank_ = &bank; }
  const MemoryBank& bank() const { return *bank_; }
  // The last of the bank's readers in a forward pass.
  bool reads_last() const { return reader_ + 1 == readers_; }

  void plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
            Wanted wanted) override;
  void forward(const Context& context, Tensor out, Tensor x, Mode mode,
               std::int64_t micro_batch) override;
  void backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                std::int64_t micro_batch) override;
  std::int64_t multiply_adds() const override;
  std::int64_t scratch_bytes(Device device) const override;

  MemoryLookup last_lookup(std::int64_t micro_batch, std::int64_t tokens) const;

  // The parameter that tells whether given weights have this layer.
  const std::string& name() const { return sub_keys_.slices.front().name; }
  // Makes the layer's output exactly zero until it is trained: the output projection becomes zero,
  // or without one all rows of the table that is added up, which other readers may share.
  void start_silent(const Context& context, std::uint64_t seed) const;
  // The output projection's weight [C, v_dim]; empty: there is none. While it is all zero, neither
  // the values nor the queries have a gradient.
  Tensor output_projection() const {
    return has_projection() ? value_proj_weight_->value : Tensor();
  }

  // From now on forward() does without these.
  void silence(const Silence& silence) { silence_ = silence; }

 private:
  std::int64_t slot(std::int64_t micro_batch) const { return micro_batch * readers_ + reader_; }
  // The part of an activation that the running call of `tokens` rows uses.
  static Tensor cut(const Tensor& tensor, std::int64_t tokens) { return tensor.rows(0, tokens); }
  bool has_projection() const { return value_proj_weight_ != nullptr; }
  bool has_swilu() const { return swilu_weight_ != nullptr; }
  bool is_gated() const { return gating_weight_ != nullptr; }

  // [N, K] i32: what a bag finds its rows by.
  Tensor row_indices(std::int64_t slot, std::int64_t tokens) const;
  Tensor sub_keys(const Tensor& block) const;  // [H, 2, n_keys, k_dim / 2]
  Tensor by_head(const Tensor& picks) const;   // [N, H, knn] of [N, K]

  bool is_trained() const { return sub_keys_.trained(); }

  // The four stages of forward(), and their backward passes in reverse order.
  void query(const Context& context, Tensor x, Mode mode);
  void look_up(const Context& context, Tensor x, Tensor coefficients, std::int64_t slot);
  void project(const Context& context, Tensor out, Tensor x);
  void backward_project(const Context& context, Tensor dbag, Tensor dx, Tensor dout, Tensor x);
  void backward_look_up(const Context& context, Tensor dx, Tensor dbag, Tensor x,
                        std::int64_t slot);
  void backward_query(const Context& context, Tensor dx, Tensor x);

  const MemoryBank* bank_ = nullptr;
  Silence silence_;
  ProductKeyConfig config_;
  std::int64_t dim_;
  std::int64_t v_dim_;
  std::int64_t picks_;  // K
  std::int64_t reader_;
  std::int64_t readers_;
  std::int64_t tokens_ = 0;
  DType dtype_ = DType::f32;

  Parameter& sub_keys_;      // [2 H n, k_dim / 2], ordered (head, half, key)
  Parameter& query_weight_;  // [H k_dim, C]
  Parameter& query_bias_;
  std::optional<QueryNormLayer> query_norm_;
  Parameter* value_proj_weight_ = nullptr;  // [C, v_dim]
  Parameter* value_proj_bias_ = nullptr;
  Parameter* swilu_weight_ = nullptr;  // [v_dim, C]
  Parameter* swilu_bias_ = nullptr;
  Parameter* gating_weight_ = nullptr;  // [1, C]
  Parameter* gating_bias_ = nullptr;

  // Kept from forward to backward.
  Tensor projected_;           // [N, H, k_dim] before the query norm; empty without one
  Tensor query_;               // [N, H, k_dim]
  Tensor weights_;             // [N, K] softmax, PEER only: elsewhere the bag's coefficients
  Tensor inverse_;             // [N, K] i32: which gathered row a pick means
  Tensor rows_;                // [capacity, v_dim] gathered; these three not where rows are read
  Tensor expert_rows_;         // [capacity, v_dim] gathered from u, PEER only          in place
  Tensor expert_activations_;  // [N, K] <x, u>, PEER only
  Tensor bag_;                 // [N, v_dim]
  Tensor swilu_gate_;          // [N, v_dim] swilu_projection(x)
  Tensor ungated_;             // [N, C] before the sigmoid gate
  Tensor gate_;                // [N, 1]

  // Temporary.
  Tensor coefficients_;   // [N, K] where the bank keeps none (evaluation only)
  Tensor gated_bag_;      // [N, v_dim] bag * silu(gate), then its gradient
  Tensor dswilu_gate_;    // [N, v_dim]
  Tensor dungated_;       // [N, C]
  Tensor dgate_;          // [N, 1]
  Tensor dcoefficients_;  // [N, K]
  Tensor dweights_;       // [N, K]
  Tensor dquery_;         // [N, H, k_dim]
  Tensor dx_experts_;     // [N, C]
};

}  // namespace memengine
