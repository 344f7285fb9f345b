// A small Llama in Hugging Face's form, of numbers that BF16 and F16 hold exactly, in files as a
// user's folder may have them. Its vocabulary is that of the tokenizer `bytes`.
#pragma once

#include <fmt/core.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "kernels/runtime/bfloat16.h"
#include "tests/io/temporary_folder.h"

namespace memengine {

struct TinyLlama {
  FileDtype dtype = FileDtype::f32;
  int files = 1;  // several: with an index
  std::int64_t dim = 16;
  std::string more_config = R"("model_type": "llama")";
};

// Exact for multiples of 1/16 below 2, and zero.
inline std::uint16_t half_bits(float number) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof bits);
  if ((bits & 0x7fffffff) == 0) return static_cast<std::uint16_t>(bits >> 16);
  const std::uint32_t exponent = (bits >> 23 & 0xff) - 127 + 15;
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000) | exponent << 10 | (bits >> 13 & 0x3ff));
}

inline TensorSource tiny_tensor(const std::string& name, FileDtype dtype,
                                std::vector<std::int64_t> shape) {
  std::int64_t size = 1;
  for (const std::int64_t extent : shape) size *= extent;
  const std::size_t width = file_dtype_bytes(dtype);
  auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(size) * width);
  const bool norm = name.find("norm") != name.npos;
  for (std::int64_t k = 0; k < size; ++k) {
    const auto step = (7 * k + 3 * static_cast<std::int64_t>(name.size())) % 17 - 8;
    const float number = static_cast<float>(step) / 16 + (norm ? 1.0F : 0.0F);
    std::byte* to = bytes->data() + static_cast<std::size_t>(k) * width;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &number, sizeof bits);
    const std::uint16_t upper = static_cast<std::uint16_t>(bits >> 16), half = half_bits(number);
    if (dtype == FileDtype::f32) std::memcpy(to, &bits, width);
    if (dtype == FileDtype::bf16) std::memcpy(to, &upper, width);
    if (dtype == FileDtype::f16) std::memcpy(to, &half, width);
  }
  return {name, dtype, std::move(shape), [bytes](std::uint64_t offset, std::span<std::byte> part) {
            std::memcpy(part.data(), bytes->data() + offset, part.size());
          }};
}

inline void write_tiny_llama(const TemporaryFolder& folder, const std::string& name,
                             const TinyLlama& tiny = {}) {
  std::vector<TensorSource> tensors;
  const std::int64_t dim = tiny.dim;
  const auto add = [&](const std::string& tensor, std::vector<std::int64_t> shape) {
    tensors.push_back(tiny_tensor(tensor, tiny.dtype, std::move(shape)));
  };
  add("model.embed_tokens.weight", {258, dim});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const auto& [part, rows] :
         {std::pair("q_proj", dim), std::pair("k_proj", dim / 2), std::pair("v_proj", dim / 2)}) {
      add(layer + "self_attn." + part + ".weight", {rows, dim});
    }
    add(layer + "self_attn.o_proj.weight", {dim, dim});
    add(layer + "mlp.gate_proj.weight", {24, dim});
    add(layer + "mlp.up_proj.weight", {24, dim});
    add(layer + "mlp.down_proj.weight", {dim, 24});
    add(layer + "input_layernorm.weight", {dim});
    add(layer + "post_attention_layernorm.weight", {dim});
  }
  add("model.norm.weight", {dim});
  FileSystem::real().make_folder(folder / name);
  std::string index;
  for (int file = 0; file < tiny.files; ++file) {
    std::vector<TensorSource> part;
    const std::string file_name =
        tiny.files == 1 ? "model.safetensors"
                        : fmt::format("model-{:05}-of-{:05}.safetensors", file + 1, tiny.files);
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (static_cast<int>(i) % tiny.files != file) continue;
      part.push_back(tensors[i]);
      index +=
          fmt::format("{}\"{}\": \"{}\"", index.empty() ? "" : ", ", tensors[i].name, file_name);
    }
    write_safetensors(FileSystem::real(), folder / name / file_name, part);
  }
  if (tiny.files > 1) {
    folder.write(name + "/model.safetensors.index.json", "{\"weight_map\": {" + index + "}}");
  }
  folder.write(name + "/config.json",
               fmt::format(R"({{"hidden_size": {}, "intermediate_size": 24, "vocab_size": 258,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
      "max_position_embeddings": 64, "tie_word_embeddings": true, {}}})",
                           dim, tiny.more_config));
}

}  // namespace memengine
