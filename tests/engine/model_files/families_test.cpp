// The families of models that others train, on weights that a formula gives: logits as transformers
// 5.24 computes them in float64, and the same after an export.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "engine/model_files/export.h"
#include "engine/model_files/model_source.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "tests/engine/inference/inference_testing.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

struct Family {
  const char* name;
  const char* config;  // what differs
  std::int64_t head_dim;
  bool bias, norm;
  std::vector<double> last;    // the first logits after the last token
  std::vector<double> fourth;  // and after the fourth
};

class Families : public testing::TestWithParam<Family> {
 protected:
  void add(const std::string& name, std::vector<std::int64_t> shape) {
    std::int64_t size = 1;
    for (const std::int64_t extent : shape) size *= extent;
    auto numbers = std::make_shared<std::vector<float>>();
    for (std::int64_t k = 0; k < size; ++k) {
      const double wave = std::sin(0.7 * static_cast<double>(k) + static_cast<double>(name.size()));
      const bool norm = name.find("norm") != name.npos;
      numbers->push_back(static_cast<float>(norm ? 1 + 0.3 * wave : 0.4 * wave));
    }
    tensors_.push_back({name, FileDtype::f32, std::move(shape),
                        [numbers](std::uint64_t offset, std::span<std::byte> bytes) {
                          std::memcpy(bytes.data(),
                                      reinterpret_cast<const char*>(numbers->data()) + offset,
                                      bytes.size());
                        }});
  }

  void write() {
    const Family& family = GetParam();
    const std::int64_t queries = 4 * family.head_dim, keys = 2 * family.head_dim;
    add("model.embed_tokens.weight", {20, 16});
    for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
      const std::string attention = layer + "self_attn.";
      for (const auto& [part, rows] :
           {std::pair("q_proj", queries), std::pair("k_proj", keys), std::pair("v_proj", keys)}) {
        add(attention + part + ".weight", {rows, 16});
        if (family.bias) add(attention + part + ".bias", {rows});
      }
      add(attention + "o_proj.weight", {16, queries});
      for (const char* norm : {"q_norm", "k_norm"}) {
        if (family.norm) add(attention + norm + ".weight", {family.head_dim});
      }
      add(layer + "mlp.gate_proj.weight", {24, 16});
      add(layer + "mlp.up_proj.weight", {24, 16});
      add(layer + "mlp.down_proj.weight", {16, 24});
      add(layer + "input_layernorm.weight", {16});
      add(layer + "post_attention_layernorm.weight", {16});
    }
    add("model.norm.weight", {16});
    FileSystem::real().make_folder(folder_ / "hf");
    write_safetensors(FileSystem::real(), folder_ / "hf/model.safetensors", tensors_);
    folder_.write("hf/config.json",
                  fmt::format(R"({{"hidden_size": 16, "intermediate_size": 24, "vocab_size": 20,
      "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": {},
      "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": true, {}}})",
                              family.head_dim, family.config));
  }

  TemporaryFolder folder_;
  std::vector<TensorSource> tensors_;
};

TEST_P(Families, LogitsAreThoseOfTransformers) {
  write();
  const std::vector<std::int32_t> tokens = {3, 1, 4, 1, 5, 9, 2, 6};
  const std::vector<float> logits = logits_of(find_model(folder_ / "hf"), tokens, true);
  for (std::size_t i = 0; i < GetParam().last.size(); ++i) {
    EXPECT_NEAR(logits[7 * 20 + i], GetParam().last[i], 2e-5);
  }
  for (std::size_t i = 0; i < GetParam().fourth.size(); ++i) {
    EXPECT_NEAR(logits[3 * 20 + i], GetParam().fourth[i], 2e-5);
  }
  for (const ExportFormat format : {ExportFormat::hugging_face, ExportFormat::reference}) {
    const auto out = folder_ / (format == ExportFormat::reference ? "reference" : "again");
    export_model(find_model(folder_ / "hf"), format, out);
    EXPECT_EQ(logits_of(find_model(out), tokens, true), logits);
  }
}

constexpr const char* scaled_llama3 =
    R"("model_type": "llama", "rope_theta": 100.0, "rope_scaling": {"rope_type": "llama3",
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16})";
constexpr const char* scaled_linear =
    R"("model_type": "llama", "rope_parameters": {"rope_type": "linear", "factor": 4.0,
    "rope_theta": 100.0})";

INSTANTIATE_TEST_SUITE_P(, Families,
                         testing::Values(Family{"llama3_scaling",
                                                scaled_llama3,
                                                8,
                                                false,
                                                false,
                                                {-0.47039, 1.35033, 1.01864, -0.93676, -1.39897},
                                                {0.31054, 0.65028}},
                                         Family{"linear_scaling",
                                                scaled_linear,
                                                8,
                                                false,
                                                false,
                                                {-0.38684, 1.14292, 0.85088, -0.79746, -1.17465},
                                                {0.35726, 0.83584}},
                                         Family{"qwen2",
                                                R"("model_type": "qwen2", "rope_theta": 100.0)",
                                                4,
                                                true,
                                                false,
                                                {-1.62519, 1.11409, 2.07752, -0.2706, -2.18739},
                                                {-0.90782, 1.545}},
                                         Family{"qwen3",
                                                R"("model_type": "qwen3", "rope_theta": 100.0)",
                                                8,
                                                false,
                                                true,
                                                {-0.37029, 0.96581, 0.76242, -0.65626, -1.02887},
                                                {-0.03274, 0.91505}}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace memengine
