// The `model` section of the schema (config.h).
#include "engine/config/config_model.h"

#include <span>
#include <string>
#include <string_view>

namespace memengine {
namespace {

template <typename Enum>
using Names = std::span<const ConfigReader::Name<Enum>>;

constexpr ConfigReader::Name<RopeScalingType> rope_scaling_names[] = {
    {"none", RopeScalingType::none},
    {"linear", RopeScalingType::linear},
    {"llama3", RopeScalingType::llama3}};
constexpr ConfigReader::Name<InitStdFactor> init_names[] = {
    {"disabled", InitStdFactor::disabled},
    {"global_depth", InitStdFactor::global_depth},
    {"current_depth", InitStdFactor::current_depth},
    {"dim_ratio", InitStdFactor::dim_ratio}};
constexpr ConfigReader::Name<QueryNorm> query_norm_names[] = {{"none", QueryNorm::none},
                                                              {"batchnorm", QueryNorm::batchnorm},
                                                              {"layernorm", QueryNorm::layernorm}};
constexpr ConfigReader::Name<ValueDtype> value_dtype_names[] = {{"bf16", ValueDtype::bf16},
                                                                {"fp32", ValueDtype::fp32}};
constexpr ConfigReader::Name<ValueOptimizer> value_optimizer_names[] = {
    {"sparse_adam", ValueOptimizer::sparse_adam},
    {"dense_adamw", ValueOptimizer::dense_adamw},
    {"sgd", ValueOptimizer::sgd}};
constexpr ConfigReader::Name<MemoryPlacement> placement_names[] = {
    {"replace", MemoryPlacement::replace}, {"beside", MemoryPlacement::beside}};
constexpr ConfigReader::Name<MomentDtype> moment_names[] = {{"fp32", MomentDtype::fp32},
                                                            {"bf16", MomentDtype::bf16}};
constexpr ConfigReader::Name<SecondMoment> second_moment_names[] = {
    {"element", SecondMoment::element}, {"row", SecondMoment::row}};
constexpr ConfigReader::Name<GatherPath> gather_names[] = {{"auto", GatherPath::automatic},
                                                           {"gpu", GatherPath::gpu},
                                                           {"cpu", GatherPath::cpu},
                                                           {"both", GatherPath::both}};

constexpr std::string_view never_offloaded[] = {"false", "False"};

void bind_productkey(ConfigReader& reader, ProductKeyConfig& memory) {
  const auto bind = [&reader](std::string_view key, auto& field) {
    reader.bind("model.productkey_args." + std::string(key), field);
  };
  const auto bind_enum = [&reader](std::string_view key, auto& field, const auto& names) {
    using Enum = std::remove_reference_t<decltype(field)>;
    reader.bind_enum("model.productkey_args." + std::string(key), field, Names<Enum>(names));
  };
  bind("is_enabled", memory.is_enabled);
  bind("layers", memory.layers);
  bind("mem_n_keys", memory.mem_n_keys);
  bind("mem_heads", memory.mem_heads);
  bind("mem_knn", memory.mem_knn);
  bind("mem_share_values", memory.mem_share_values);
  bind("mem_k_dim", memory.mem_k_dim);
  bind("mem_v_dim", memory.mem_v_dim);
  bind("swilu_projection", memory.swilu_projection);
  bind("value_fixed_lr", memory.value_fixed_lr);
  bind("mem_gated", memory.mem_gated);
  bind("peer_variant", memory.peer_variant);
  bind("zero_copy", memory.zero_copy);
  reader.require("model.productkey_args.mem_offload", never_offloaded,
                 "offloading to an FPGA needs other hardware; zero_copy: true keeps the table in "
                 "host memory");
  bind_enum("placement", memory.placement, placement_names);
  bind_enum("mem_query_norm", memory.mem_query_norm, query_norm_names);
  bind("value_weight_decay", memory.value_weight_decay);
  bind("value_init_std", memory.value_init_std);
  bind_enum("mem_value_dtype", memory.mem_value_dtype, value_dtype_names);
  bind_enum("value_optimizer", memory.value_optimizer, value_optimizer_names);
  bind_enum("value_moments", memory.value_moments, moment_names);
  bind_enum("value_second_moment", memory.value_second_moment, second_moment_names);
  bind_enum("gather_path", memory.gather_path, gather_names);
  const std::string old_name = "model.productkey_args.staging_gib";  // config_notices.cpp says so
  const std::string old_value = reader.text(old_name);
  if (!old_value.empty() && old_value != "null") memory.cache_gib = old_value;
  const std::string_view any[] = {old_value};
  reader.require(old_name, any, "it is a number");
  bind("cache_gib", memory.cache_gib);
}

}  // namespace

void bind_model(ConfigReader& reader, ModelConfig& model) {
  reader.bind("model.dim", model.dim);
  reader.bind("model.n_layers", model.n_layers);
  reader.bind("model.head_dim", model.head_dim);
  reader.bind("model.n_heads", model.n_heads);
  reader.bind("model.n_kv_heads", model.n_kv_heads);
  reader.bind("model.ffn_dim_multiplier", model.ffn_dim_multiplier);
  reader.bind("model.multiple_of", model.multiple_of);
  reader.bind("model.norm_eps", model.norm_eps);
  reader.bind("model.rope_theta", model.rope_theta);
  reader.bind_enum("model.rope_scaling.type", model.rope_scaling.type,
                   Names<RopeScalingType>(rope_scaling_names));
  reader.bind("model.rope_scaling.factor", model.rope_scaling.factor);
  reader.bind("model.rope_scaling.low_freq_factor", model.rope_scaling.low_freq_factor);
  reader.bind("model.rope_scaling.high_freq_factor", model.rope_scaling.high_freq_factor);
  reader.bind("model.rope_scaling.original_max_position_embeddings",
              model.rope_scaling.original_max_position_embeddings);
  reader.bind("model.qkv_bias", model.qkv_bias);
  reader.bind("model.qk_norm", model.qk_norm);
  reader.bind("model.init_base_std", model.init_base_std);
  reader.bind_enum("model.init_std_factor", model.init_std_factor,
                   Names<InitStdFactor>(init_names));
  reader.bind("model.max_seqlen", model.max_seqlen);
  reader.bind("model.seed", model.seed);
  reader.bind("model.vocab_size", model.vocab_size);
  reader.bind("model.weight_tying", model.weight_tying);
  reader.bind("model.sliding_window", model.sliding_window);
  reader.bind("model.document_mask", model.document_mask);
  bind_productkey(reader, model.productkey_args);
  reader.ignore("model.attn_impl", "there is one attention implementation");
}

}  // namespace memengine
