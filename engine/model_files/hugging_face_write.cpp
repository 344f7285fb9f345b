// Export: names and rows in the other form, and config.json.
#include <cstring>
#include <nlohmann/json.hpp>

#include "engine/model_files/hugging_face.h"
#include "engine/model_files/hugging_face_tensors.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

using nlohmann::json;

void write_hugging_face(const Context& context, const std::filesystem::path& folder,
                        const Transformer& transformer, const Tokenizer* tokenizer,
                        const SafetensorsWriting& writing) {
  const ModelConfig& model = transformer.config();
  if (!model.memory_layers().empty()) {
    fail_input(
        "a model with memory layers cannot be written in Hugging Face's form: use --format "
        "reference");
  }
  const std::int64_t head_dim = model.head_size();
  std::vector<TensorSource> tensors;
  for (const NamedTensor& named : transformer.parameters().named()) {
    TensorSource tensor;
    tensor.name = hugging_face_name(named.name);
    tensor.dtype = FileDtype::f32;
    for (int axis = 0; axis < named.value.rank(); ++axis) {
      tensor.shape.push_back(named.value.dim(axis));
    }
    // Blocks may begin inside a row, so a rotated matrix is dealt out whole at its first block.
    auto whole = std::make_shared<std::vector<std::byte>>();
    tensor.read = [&context, named, head_dim, whole](std::uint64_t offset,
                                                     std::span<std::byte> bytes) {
      const auto* data = static_cast<const std::byte*>(named.value.data());
      if (!is_rotated(named.name)) {
        copy_bytes(context, bytes.data(), data + offset, static_cast<std::int64_t>(bytes.size()));
        return;
      }
      if (whole->empty()) {
        std::vector<std::byte> ours(static_cast<std::size_t>(named.value.bytes()));
        copy_bytes(context, ours.data(), data, named.value.bytes());
        whole->resize(ours.size());
        const std::int64_t row_bytes = named.value.size() / named.value.dim(0) * 4;
        for (std::int64_t row = 0; row < named.value.dim(0); ++row) {
          std::memcpy(whole->data() + half_split_row(row, head_dim) * row_bytes,
                      ours.data() + row * row_bytes, static_cast<std::size_t>(row_bytes));
        }
      }
      std::memcpy(bytes.data(), whole->data() + offset, bytes.size());
      if (offset + bytes.size() == whole->size()) whole->clear(), whole->shrink_to_fit();
    };
    tensors.push_back(std::move(tensor));
  }

  json config = {{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_act", "silu"},
                 {"hidden_size", model.dim},
                 {"intermediate_size", model.ffn_hidden()},
                 {"num_hidden_layers", model.n_layers},
                 {"num_attention_heads", model.heads()},
                 {"num_key_value_heads", model.kv_heads()},
                 {"head_dim", head_dim},
                 {"vocab_size", model.vocab_size},
                 {"max_position_embeddings", model.max_seqlen},
                 {"rms_norm_eps", model.norm_eps},
                 {"rope_theta", model.rope_theta},
                 {"tie_word_embeddings", model.weight_tying},
                 {"attention_bias", false},
                 {"mlp_bias", false},
                 {"torch_dtype", "float32"}};
  if (model.qkv_bias || model.qk_norm) {
    if (model.sliding_window || (model.qkv_bias && model.qk_norm)) {
      fail_input(
          "no model of Hugging Face's has this one's parts (model.qkv_bias={}, qk_norm={}, "
          "sliding_window): use --format reference",
          model.qkv_bias, model.qk_norm);
    }
    config["architectures"] = {model.qk_norm ? "Qwen3ForCausalLM" : "Qwen2ForCausalLM"};
    config["model_type"] = model.qk_norm ? "qwen3" : "qwen2";
    config["use_sliding_window"] = false;
    if (!model.qk_norm) config.erase("attention_bias");
  }
  if (const RopeScaling& scaling = model.rope_scaling; scaling.type != RopeScalingType::none) {
    json rope = {{"rope_type", "linear"}, {"factor", scaling.factor}};
    if (scaling.type == RopeScalingType::llama3) {
      rope["rope_type"] = "llama3";
      rope["low_freq_factor"] = scaling.low_freq_factor;
      rope["high_freq_factor"] = scaling.high_freq_factor;
      rope["original_max_position_embeddings"] = scaling.original_max_position_embeddings;
    }
    config["rope_scaling"] = rope;
  }
  if (model.sliding_window) {
    config["architectures"] = {"MistralForCausalLM"};
    config["model_type"] = "mistral";
    config["sliding_window"] = *model.sliding_window;
  }
  // Said also where there is none: their library's defaults are Llama 2's.
  const auto id = [](std::int32_t token) { return token < 0 ? json() : json(token); };
  config["bos_token_id"] = id(tokenizer ? tokenizer->bos_id() : -1);
  config["eos_token_id"] = id(tokenizer ? tokenizer->eos_id() : -1);

  FileSystem& files = FileSystem::real();
  files.make_folder(folder);
  write_safetensors(files, folder / "model.safetensors", tensors, {{"format", "pt"}}, writing);
  write_file_atomically(files, folder / "config.json", config.dump(2) + "\n");
}

}  // namespace memengine
