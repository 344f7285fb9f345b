// Hugging Face folders as strangers have them: heads that are tied or not, several files, end
// tokens, placeholders for files; and what an export says of its tokenizer.
#include "engine/model_files/hugging_face.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "engine/model_files/export.h"
#include "engine/model_files/hugging_face_tokenizer.h"
#include "engine/model_files/model_files.h"
#include "engine/run/run_state.h"
#include "io/checkpoints/safetensors.h"
#include "io/files/file.h"
#include "tests/data.h"
#include "tests/engine/inference/inference_testing.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

struct Weights {
  std::vector<std::int64_t> shape;
  std::vector<float> numbers;
};
using Model = std::map<std::string, Weights>;

Model read_weights(const fs::path& file) {
  const SafetensorsReader reader(file);
  Model model;
  for (const TensorInfo& tensor : reader.tensors()) {
    Weights& weights = model[tensor.name];
    weights.shape = tensor.shape;
    weights.numbers.resize(tensor.bytes / 4);
    reader.read(tensor.name, 0, std::as_writable_bytes(std::span(weights.numbers)));
  }
  return model;
}

void write_weights(const fs::path& file, const Model& model) {
  std::vector<TensorSource> tensors;
  for (const auto& [name, weights] : model) {
    TensorSource tensor;
    tensor.name = name;
    tensor.dtype = FileDtype::f32;
    tensor.shape = weights.shape;
    tensor.read = [&numbers = weights.numbers](std::uint64_t offset, std::span<std::byte> bytes) {
      std::memcpy(bytes.data(), reinterpret_cast<const std::byte*>(numbers.data()) + offset,
                  bytes.size());
    };
    tensors.push_back(tensor);
  }
  fs::remove(file);
  write_safetensors(FileSystem::real(), file, tensors);
}

// An exported model of random weights.
class StrangersFolder : public testing::Test {
 protected:
  fs::path make(bool tied, bool add_bos = true) {
    ModelConfig model = tiny_model();
    model.weight_tying = tied;
    RunConfig config;
    config.dump_dir = (folder_ / "run").string();
    config.data.seq_len = model.max_seqlen;
    config.data.add_bos = add_bos;
    config.model = model;
    ServedModel test(model, inference_rows(1));
    RunState state;
    state.step = 1;
    save_checkpoint(FileSystem::real(), folder_ / "run/checkpoints", 1,
                    model_files(test.model.context(), test.model.transformer(), nullptr),
                    run_state(config, state));
    export_model(find_model(folder_ / "run"), ExportFormat::hugging_face, folder_ / "hf");
    fs::remove(folder_ / "hf" / "memengine_checksums.json");  // strangers' folders have none
    return folder_ / "hf";
  }
  void set(const char* file, const char* key, const nlohmann::json& value) {
    auto json = nlohmann::json::parse(file_bytes(folder_ / "hf" / file), nullptr, false);
    if (!json.is_object()) json = nlohmann::json::object();
    json[key] = value;
    folder_.write(std::string("hf/") + file, json.dump());
  }

  TemporaryFolder folder_;
  const std::vector<std::int32_t> text_ = {256, 7, 8, 200, 9, 9, 1};
};

constexpr const char* embedding = "model.embed_tokens.weight";
constexpr const char* head = "lm_head.weight";

// What transformers 5.24 does: a stored head that differs is used, an equal one is the embedding,
// and a head alone is the embedding too.
TEST_F(StrangersFolder, ATiedModelMayStoreItsHeadAnyWay) {
  const fs::path folder = make(true);
  const std::vector<float> expected = logits_of(find_model(folder), text_);
  const Model plain = read_weights(folder / "model.safetensors");
  ASSERT_FALSE(plain.contains(head));

  Model changed = plain;
  changed[head] = plain.at(embedding);
  write_weights(folder / "model.safetensors", changed);
  EXPECT_TRUE(find_model(folder).notices.empty());
  EXPECT_EQ(logits_of(find_model(folder), text_), expected);

  changed.erase(embedding);
  write_weights(folder / "model.safetensors", changed);
  EXPECT_EQ(logits_of(find_model(folder), text_), expected);

  changed = plain;
  changed[head] = plain.at(embedding);
  for (float& number : changed[head].numbers) number *= -2;
  write_weights(folder / "model.safetensors", changed);
  const ModelSource source = find_model(folder);
  ASSERT_EQ(source.notices.size(), 1u);
  EXPECT_NE(source.notices[0].find("lm_head.weight is used"), std::string::npos);
  const std::vector<float> other = logits_of(source, text_);
  for (std::size_t i = 0; i < other.size(); ++i) {
    ASSERT_NEAR(other[i], -2 * expected[i], 1e-5 * (1 + std::abs(expected[i]))) << i;
  }
}

TEST_F(StrangersFolder, TheSingleFileGoesBeforeShards) {
  const fs::path folder = make(false);
  const std::vector<float> expected = logits_of(find_model(folder), text_);
  Model other = read_weights(folder / "model.safetensors");
  for (float& number : other[head].numbers) number += 1;
  write_weights(folder / "shard.safetensors", other);
  nlohmann::json index;
  for (const auto& [name, weights] : other) index["weight_map"][name] = "shard.safetensors";
  folder_.write("hf/model.safetensors.index.json", index.dump());
  const ModelSource source = find_model(folder);
  ASSERT_EQ(source.notices.size(), 1u);
  EXPECT_NE(source.notices[0].find("model.safetensors is read, not the shards"), std::string::npos);
  EXPECT_EQ(logits_of(source, text_), expected);
  fs::remove(folder / "model.safetensors");
  EXPECT_TRUE(find_model(folder).notices.empty());
  EXPECT_NE(logits_of(find_model(folder), text_), expected);
}

TEST_F(StrangersFolder, EndTokensOfTheirConfigsEndAGeneration) {
  using Ids = std::vector<std::int32_t>;
  const fs::path folder = make(false);
  EXPECT_EQ(find_model(folder).end_tokens, Ids{257});
  set("config.json", "eos_token_id", {17, 18});
  EXPECT_EQ(find_model(folder).end_tokens, (Ids{17, 18}));
  set("generation_config.json", "eos_token_id", 40);
  EXPECT_EQ(find_model(folder).end_tokens, Ids{40});
  set("generation_config.json", "eos_token_id", nullptr);
  EXPECT_EQ(find_model(folder).end_tokens, (Ids{17, 18}));
  for (const nlohmann::json& bad : {nlohmann::json("</s>"), nlohmann::json(-1), nlohmann::json(1.5),
                                    nlohmann::json({1, "x"})}) {
    set("config.json", "eos_token_id", bad);
    expect_input_error("eos_token_id is neither", [&] { find_model(folder); });
  }
  set("config.json", "eos_token_id", 257);

  const ModelSource source = find_model(folder);
  const auto tokenizer = open_tokenizer(source);
  Runtime runtime(Device::cpu);
  InferenceModel model(source.model, inference_rows(19, 1, 64), runtime);
  model.load(source);
  const GenerationPrompt prompt{text_, 20, {}};
  const Ids endless = Generator(model, *tokenizer, {}).generate({&prompt, 1}, {}).front().tokens;
  ASSERT_EQ(endless.size(), 20u);
  const std::int32_t sixth = endless[5];
  const auto first = std::find(endless.begin(), endless.end(), sixth);
  const Generation ended =
      Generator(model, *tokenizer, {300, sixth}).generate({&prompt, 1}, {}).front();
  EXPECT_EQ(ended.tokens, Ids(endless.begin(), first));
  EXPECT_EQ(ended.end, Generation::End::end_of_sequence);
}

TEST_F(StrangersFolder, WhatIsNoModelIsNamed) {
  const fs::path folder = make(true);
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 1045408\n";
  const std::string config = file_bytes(folder / "config.json");
  const Model plain = read_weights(folder / "model.safetensors");
  folder_.write("hf/tokenizer.model", pointer);
  expect_input_error("tokenizer.model is a Git LFS pointer", [&] { find_model(folder); });
  fs::remove(folder / "tokenizer.model");
  folder_.write("hf/config.json", pointer);
  expect_input_error("config.json is a Git LFS pointer", [&] { find_model(folder); });
  folder_.write("hf/config.json", config);

  for (const float bad : {std::nanf(""), -INFINITY}) {
    Model damaged = plain;
    damaged["model.layers.1.mlp.up_proj.weight"].numbers[5] = bad;
    write_weights(folder / "model.safetensors", damaged);
    expect_input_error("tensor 'model.layers.1.mlp.up_proj.weight' holds NaN or infinity",
                       [&] { logits_of(find_model(folder), text_); });
  }
  folder_.write("hf/model.safetensors", pointer);
  expect_input_error("model.safetensors is a Git LFS pointer",
                     [&] { logits_of(find_model(folder), text_); });
  fs::remove(folder / "model.safetensors");
  folder_.write("hf/pytorch_model-00001-of-00002.bin", "PK");
  expect_input_error("pytorch_model-00001-of-00002.bin is in PyTorch's own format",
                     [&] { find_model(folder); });
}

TEST_F(StrangersFolder, AnExportSaysWhetherTextsBeginWithBos) {
  for (const bool bos : {true, false}) {
    fs::remove_all(folder_ / "hf");
    fs::remove_all(folder_ / "run");
    const fs::path folder = make(false, bos);
    const auto config = nlohmann::json::parse(file_bytes(folder / "tokenizer_config.json"));
    EXPECT_EQ(config.at("add_bos_token"), bos);
    EXPECT_EQ(config.at("bos_token"), "<bos>");
    const auto json = nlohmann::json::parse(file_bytes(folder / "tokenizer.json"));
    EXPECT_EQ(json.at("post_processor").is_object(), bos);
    EXPECT_EQ(json.at("model").at("vocab").size(), 256u);
    EXPECT_EQ(json.at("model").at("vocab").at("\u0120"), 32);
    const ModelSource again = find_model(folder);
    EXPECT_EQ(again.add_bos, bos);
    EXPECT_EQ(open_tokenizer(again)->name(), "bytes");
  }
}

TEST(HuggingFaceTokenizer, SettingsOfOthers) {
  const TemporaryFolder folder;
  const auto read = [&](const char* text) {
    return read_tokenizer_settings(folder.write("tokenizer_config.json", text));
  };
  EXPECT_TRUE(read("{}").add_bos);
  EXPECT_FALSE(read(R"({"add_bos_token": false})").add_bos);
  EXPECT_TRUE(read(R"({"add_bos_token": null})").add_bos);
  EXPECT_EQ(read(R"({"tokenizer_class": "LlamaTokenizerFast"})").space,
            SpaceInFront::first_unless_a_space);
  EXPECT_EQ(read(R"({"tokenizer_class": "LlamaTokenizer", "legacy": true})").space,
            SpaceInFront::unless_a_space);
  EXPECT_EQ(read(R"({"tokenizer_class": "PreTrainedTokenizerFast"})").space,
            SpaceInFront::every_part);
  expect_input_error("'add_bos_token' is of the wrong type",
                     [&] { read(R"({"add_bos_token": "yes"})"); });
  expect_input_error("not a JSON object", [&] { read("[]"); });
}

// The merges of a SentencePiece model and of ranks: as many ways as a piece has, and one per token.
TEST(HuggingFaceTokenizer, MergesOfRealTokenizers) {
  MEMENGINE_REQUIRE_DATA();
  const fs::path file = test_data_folder() / "checkpoints/stories260K/hf/tokenizer.model";
  const auto sp = load_tokenizer("sp", file);
  const auto form = hugging_face_tokenizer(*sp, file_bytes(file), true, 512);
  ASSERT_TRUE(form.json);
  const auto json = nlohmann::json::parse(*form.json);
  EXPECT_EQ(json["model"]["vocab"].size(), 512u);
  EXPECT_EQ(json["model"]["merges"][0], "\u2581 t");
  EXPECT_EQ(json["added_tokens"].size(), 3u);
  EXPECT_EQ(json["post_processor"]["special_tokens"]["<s>"]["ids"][0], 1);
  const auto llama3 = load_tokenizer("tiktoken", test_data_folder() / "tokenizers/llama3.tiktoken");
  const auto ranks = nlohmann::json::parse(*hugging_face_tokenizer(*llama3, "", false, 8192).json);
  EXPECT_EQ(ranks["model"]["merges"][0], "\u0120 \u0120");
  EXPECT_EQ(ranks["model"]["vocab"].size(), 128000u);
  EXPECT_TRUE(ranks["post_processor"].is_null());
}

// What would be another model than the one that was trained, if it were read past.
TEST_F(StrangersFolder, ConfigsOfOtherModelsAreRefused) {
  using nlohmann::json;
  const json scaled = {{"rope_type", "linear"}, {"factor", 2.0}};
  const auto with = [](json map, const char* key, const json& value) {
    map[key] = value;
    return map;
  };
  const std::vector<std::tuple<const char*, json, const char*>> refused = {
      {"rope_scaling", "linear", "rope_scaling is not a map"},
      {"rope_scaling", json::array({1}), "rope_scaling is not a map"},
      {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}, "of type \"dynamic\""},
      {"rope_scaling", with(scaled, "attention_factor", 1.5), "rope_scaling.attention_factor"},
      {"rope_parameters", with(scaled, "rope_theta", "1e4"), "rope_parameters.rope_theta"},
      {"rope_parameters", with(scaled, "partial_rotary_factor", 0.5), "partial_rotary_factor"},
      {"rope_parameters",
       {{"full_attention", scaled}, {"sliding_attention", scaled}},
       "rope_parameters.full_attention"},
      {"partial_rotary_factor", 0.5, "partial_rotary_factor"},
      {"layer_types", json::array({"full_attention", "sliding_attention"}), "sliding_attention"},
      {"quantization_config", {{"bits", 4}}, "quantization_config"},
      {"attention_bias", true, "attention_bias"},
      {"model_type", "gemma", "model_type 'gemma'"}};
  const fs::path folder = make(true);
  const std::string config = file_bytes(folder / "config.json");
  for (const auto& [key, value, words] : refused) {
    folder_.write("hf/config.json", config);
    set("config.json", key, value);
    expect_input_error(words, [&] { find_model(folder); });
  }
}

// The same keys where they say nothing new.
TEST_F(StrangersFolder, ConfigsMaySayTheUsualAtLength) {
  using nlohmann::json;
  const fs::path folder = make(true);
  const std::vector<float> expected = logits_of(find_model(folder), text_);
  const double theta = find_model(folder).model.rope_theta;
  set("config.json", "rope_scaling", {{"rope_type", nullptr}});
  set("config.json", "rope_parameters",
      {{"rope_type", "default"}, {"rope_theta", theta}, {"partial_rotary_factor", 1.0}});
  set("config.json", "partial_rotary_factor", 1.0);
  set("config.json", "layer_types", json::array({"full_attention", "full_attention"}));
  set("config.json", "quantization_config", nullptr);
  EXPECT_EQ(logits_of(find_model(folder), text_), expected);
}

}  // namespace
}  // namespace memengine
