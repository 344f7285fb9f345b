// The shape of a model: what the `model` section of a config says, as plain data.
//
// Field names and defaults are the reference's (Meta Lingua's transformer with product-key memory);
// engine/config/config.cpp binds them to YAML and validates them. The helpers below turn what a
// user may leave out (head sizes, hidden size, value size) into numbers; they expect a validated
// config.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/rope_scaling.h"
#include "kernels/runtime/error.h"

namespace memengine {

// Divides the standard deviation of the initial weights of wo and w2, whose outputs are added to
// the residual state.
enum class InitStdFactor {
  disabled,       // by 1
  global_depth,   // by sqrt(2 * (n_layers + 1))
  current_depth,  // by sqrt(2 * (layer + 1))
  dim_ratio,      // by dim / 4096
};

enum class QueryNorm { none, batchnorm, layernorm };

// What of a value row the forward pass reads: its BF16 half, or both halves (exactly FP32).
enum class ValueDtype { bf16, fp32 };

// Sparse Adam touches only the rows per step looked up; dense AdamW updates the whole table every
// step as the reference does; plain descent touches what sparse Adam does and keeps no moments.
enum class ValueOptimizer { sparse_adam, dense_adamw, sgd };

enum class MomentDtype { fp32, bf16 };

// Adam's second moment of a value row: one of each element, or the mean over the row.
enum class SecondMoment { element, row };

// Where a memory layer stands: in the place of its block's feed-forward, or beside it (their
// outputs are added).
enum class MemoryPlacement { replace, beside };

// What is trained; the rest keeps its values, and has neither gradients nor moments.
enum class TrainedPart {
  all,
  memory,  // the memory layers and their value tables
  values,  // the value tables alone
};

// Who reads the host table in training: the GPU through mapped memory, CPU threads in chunks, or
// both, each a share. `automatic`: whichever is fastest when training starts.
enum class GatherPath { automatic, gpu, cpu, both };

// Product-key memory (Lample et al. 2019; Berges et al. 2024), `model.productkey_args`.
struct ProductKeyConfig {
  bool is_enabled = false;
  std::string layers;                           // "4,12,20", counted from 0
  std::int64_t mem_n_keys = 1024;               // n sub-keys a half; the table has n * n rows
  std::int64_t mem_heads = 4;                   // H
  std::int64_t mem_knn = 32;                    // rows picked per head
  bool mem_share_values = true;                 // one table for all memory layers
  std::int64_t mem_k_dim = 512;                 // query and key size, both halves together
  std::int64_t mem_v_dim = -1;                  // value size; -1: the model's dim
  bool swilu_projection = true;                 // value_proj(bag * silu(swilu_projection(x)))
  std::optional<double> value_fixed_lr = 1e-3;  // values' own learning rate; null: optim.lr
  bool mem_gated = false;                       // sigmoid gate on the layer's output
  bool peer_variant = false;                    // two tables u, v: sum of s * gelu(<x, u_i>) * v_i
  bool zero_copy = false;                       // table in page-locked host memory
  // Not in the reference:
  MemoryPlacement placement = MemoryPlacement::replace;
  QueryNorm mem_query_norm = QueryNorm::none;
  double value_weight_decay = 0.0;
  std::optional<double> value_init_std;  // null: v_dim^-1/2
  ValueDtype mem_value_dtype = ValueDtype::bf16;
  ValueOptimizer value_optimizer = ValueOptimizer::sparse_adam;
  MomentDtype value_moments = MomentDtype::fp32;
  SecondMoment value_second_moment = SecondMoment::element;
  GatherPath gather_path = GatherPath::automatic;
  // GPU memory for the cache of a host table's rows (kernels/table/staged_rows/staged_rows.h): GiB,
  // or "auto", what is free; null: on a GPU a quarter of what the model takes without it, at least
  // 640 MiB, and where each row of the table is.
  std::optional<std::string> cache_gib;

  std::int64_t rows() const { return mem_n_keys * mem_n_keys; }
  std::int64_t half_dim() const { return mem_k_dim / 2; }
  bool operator==(const ProductKeyConfig&) const = default;
};

struct ModelConfig {
  std::int64_t dim = 512;
  std::int64_t n_layers = 8;
  std::optional<std::int64_t> head_dim;  // give this or n_heads
  std::optional<std::int64_t> n_heads;
  std::optional<std::int64_t> n_kv_heads;  // null: n_heads (no grouping)
  std::optional<double> ffn_dim_multiplier;
  std::int64_t multiple_of = 256;
  double norm_eps = 1e-5;
  double rope_theta = 1e4;
  RopeScaling rope_scaling;
  bool qkv_bias = false;  // biases on the projections to queries, keys and values (Qwen2)
  bool qk_norm = false;   // RMSNorm of every query and key head before the rotation (Qwen3)
  std::optional<double> init_base_std;  // null: fan-in^-1/2
  InitStdFactor init_std_factor = InitStdFactor::disabled;
  std::int64_t max_seqlen = 1024;  // training sets it to data.seq_len
  std::int64_t seed = 42;          // accepted; initial weights come from the run's `seed`
  std::int64_t vocab_size = -1;    // -1: the tokenizer's
  bool weight_tying = false;
  std::optional<std::int64_t> sliding_window;  // keys a query sees, itself included; null: all
  bool document_mask = false;                  // attention does not cross document borders
  ProductKeyConfig productkey_args;

  std::int64_t heads() const { return n_heads ? *n_heads : dim / head_dim.value_or(dim); }
  std::int64_t head_size() const { return head_dim ? *head_dim : dim / heads(); }
  std::int64_t kv_heads() const { return n_kv_heads.value_or(heads()); }

  // Hidden size of the SwiGLU feed-forward: 2/3 * 4 * dim * multiplier, truncated to a whole number
  // after each factor as the reference does, then rounded up to a multiple.
  std::int64_t ffn_hidden() const {
    std::int64_t hidden = 8 * dim / 3;
    if (ffn_dim_multiplier) {
      hidden = static_cast<std::int64_t>(*ffn_dim_multiplier * static_cast<double>(hidden));
    }
    return multiple_of * ((hidden + multiple_of - 1) / multiple_of);
  }

  // Size of one value row. PEER's rows meet the layer's input and output, so it is always dim
  // there.
  std::int64_t value_dim() const {
    return productkey_args.mem_v_dim > 0 ? productkey_args.mem_v_dim : dim;
  }
  double value_init_std() const {
    return productkey_args.value_init_std.value_or(1.0 /
                                                   std::sqrt(static_cast<double>(value_dim())));
  }

  // The layers that hold a memory, ascending; empty when it is disabled. Input error where the list
  // is empty, malformed, out of range or repeats a layer.
  std::vector<std::int64_t> memory_layers() const;
  bool operator==(const ModelConfig&) const = default;
};

inline std::vector<std::int64_t> ModelConfig::memory_layers() const {
  std::vector<std::int64_t> layers;
  if (!productkey_args.is_enabled) return layers;
  constexpr std::string_view key = "model.productkey_args.layers";
  std::string_view rest = productkey_args.layers;
  const auto skip_spaces = [&rest] {
    while (rest.starts_with(' ')) rest.remove_prefix(1);
  };
  while (true) {
    skip_spaces();
    std::int64_t layer = -1;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
    if (error != std::errc()) {
      fail_input("{} is '{}': list layers as \"4,12,20\", counted from 0", key,
                 productkey_args.layers);
    }
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    skip_spaces();
    if (layer < 0 || layer >= n_layers) {
      fail_input("{}: layer {} does not exist; model.n_layers={} has layers 0 to {}", key, layer,
                 n_layers, n_layers - 1);
    }
    if (std::find(layers.begin(), layers.end(), layer) != layers.end()) {
      fail_input("{}: layer {} is listed twice", key, layer);
    }
    layers.push_back(layer);
    if (rest.empty()) break;
    if (rest.front() != ',') {
      fail_input("{} is '{}': list layers as \"4,12,20\", counted from 0", key,
                 productkey_args.layers);
    }
    rest.remove_prefix(1);
  }
  std::sort(layers.begin(), layers.end());
  return layers;
}

}  // namespace memengine
