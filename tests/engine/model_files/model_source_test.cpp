// Models in and out: the real Llama checkpoint, round trips through every form, and bad folders.
#include "engine/model_files/model_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "engine/model_files/export.h"
#include "engine/model_files/model_files.h"
#include "engine/run/run_state.h"
#include "io/files/file.h"
#include "tests/data.h"
#include "tests/engine/inference/inference_testing.h"
#include "tests/expect_input_error.h"
#include "tests/io/temporary_folder.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

RunState at_step(std::int64_t step) {
  RunState state;
  state.step = step;
  return state;
}

fs::path stories() {
  return test_data_folder() / "checkpoints/stories260K/hf";
}

// A checkpoint of random weights, saved as training saves it.
fs::path save_random_checkpoint(const fs::path& root, const ModelConfig& model, std::int64_t step) {
  RunConfig config;
  config.dump_dir = root.string();
  config.data.seq_len = model.max_seqlen;
  config.model = model;
  ServedModel test(model, inference_rows(1));
  test.model.initialize(static_cast<std::uint64_t>(step));
  return save_checkpoint(FileSystem::real(), root / "checkpoints", step,
                         model_files(test.model.context(), test.model.transformer(), nullptr),
                         run_state(config, at_step(step)))
      .path;
}

TEST(ModelSource, Stories260KContinuesExactlyAsPublished) {
  MEMENGINE_REQUIRE_DATA();
  const std::string page = read_text_file(stories().parent_path() / "stories260K.md", 1 << 20);
  const std::size_t begin = page.find("-t 0.0\n") + 7;
  const std::string expected = page.substr(begin, page.find("\n```", begin) - begin);
  ASSERT_TRUE(expected.starts_with("Once upon a time")) << expected;

  const ModelSource source = find_model(stories());
  const auto tokenizer = open_tokenizer(source);
  Runtime runtime(Device::cpu);
  InferenceModel model(source.model, inference_rows(19, 1, 512), runtime);
  model.load(source);
  Generator generator(model, *tokenizer);
  const GenerationPrompt prompt{tokenizer->encode("", true, false), 256, {}};
  const Generation made = generator.generate({&prompt, 1}, {}).front();
  EXPECT_EQ(tokenizer->decode(made.tokens), expected);
}

TEST(ModelSource, ExportedModelsGiveTheSameLogits) {
  std::mt19937 random(6);
  const std::vector<std::int32_t> tokens = random_tokens(random, 19, 258);
  for (const char* memory : {"none", "plain", "shared", "batchnorm", "peer"}) {
    const bool dense = std::string(memory) == "none";
    for (const bool tied : dense ? std::vector<bool>{false, true} : std::vector<bool>{false}) {
      const TemporaryFolder folder;
      ModelConfig config = tiny_model(memory);
      config.weight_tying = tied;
      const fs::path checkpoint = save_random_checkpoint(folder.path(), config, 5);
      const ModelSource source = find_model(folder.path());
      EXPECT_EQ(source.folder, checkpoint);
      EXPECT_EQ(source.step, 5);
      const std::vector<float> expected = logits_of(source, tokens);
      export_model(source, ExportFormat::reference, folder / "reference");
      EXPECT_EQ(logits_of(find_model(folder / "reference"), tokens), expected) << memory;
      if (dense) {
        export_model(source, ExportFormat::hugging_face, folder / "hf");
        EXPECT_EQ(logits_of(find_model(folder / "hf"), tokens), expected);
      } else {
        expect_input_error("memory layers", [&] {
          export_model(source, ExportFormat::hugging_face, folder / "hf");
        });
      }
      expect_input_error("is there already", [&] {
        export_model(source, ExportFormat::reference, folder / "reference");
      });
    }
  }
}

TEST(ModelSource, ImportedModelsExportUnchanged) {
  MEMENGINE_REQUIRE_DATA();
  const TemporaryFolder folder;
  const ModelSource source = find_model(stories());
  std::mt19937 random(7);
  const std::vector<std::int32_t> tokens = random_tokens(random, 30, 512);
  const std::vector<float> expected = logits_of(source, tokens);
  export_model(source, ExportFormat::hugging_face, folder / "hf");
  export_model(source, ExportFormat::reference, folder / "reference");
  for (const char* name : {"hf", "reference"}) {
    const ModelSource again = find_model(folder / name);
    EXPECT_EQ(logits_of(again, tokens), expected) << name;
    EXPECT_EQ(open_tokenizer(again)->vocab_size(), 512) << name;
  }
}

// A checkpoint keeps rows as their last update left them; the model has them as of now.
TEST(ModelSource, RowsDecayUpToTheCheckpointsStep) {
  const TemporaryFolder folder;
  RunConfig config;
  config.dump_dir = folder.path().string();
  config.steps = 20;
  config.data.seq_len = 256;
  config.optim.scheduler = Scheduler::constant;
  config.optim.warmup = 0;
  config.model = tiny_model("shared");
  config.model.productkey_args.value_fixed_lr = 0.1;
  config.model.productkey_args.value_weight_decay = 0.5;
  ServedModel fresh(config.model, inference_rows(1));
  const ValueTable& table = fresh.model.transformer().banks().front().values();
  const std::int64_t rows = table.rows().rows, columns = table.rows().v_dim();
  std::vector<CheckpointFile> files =
      model_files(fresh.model.context(), fresh.model.transformer(), nullptr);
  files.push_back({"optimizer.safetensors",
                   {{table.name() + ".last_step",
                     FileDtype::i32,
                     {rows},
                     [](std::uint64_t offset, std::span<std::byte> bytes) {
                       for (std::size_t i = 0; i < bytes.size() / 4; ++i) {
                         const auto step = static_cast<std::int32_t>((offset / 4 + i) % 11);
                         std::memcpy(bytes.data() + 4 * i, &step, 4);
                       }
                     }}}});
  save_checkpoint(FileSystem::real(), folder / "checkpoints", 10, files,
                  run_state(config, at_step(10)));

  ServedModel loaded(config.model, inference_rows(1));
  loaded.model.load(find_model(folder.path()));
  const ValueRows& then = table.rows();
  const ValueRows& now = loaded.model.transformer().banks().front().values().rows();
  for (std::int64_t row = 0; row < rows; ++row) {
    const double keep = std::pow(1 - 0.1 * 0.5, 10 - row % 11);
    for (const std::int64_t column : {std::int64_t{0}, columns - 1}) {
      const auto weight = [&](const ValueRows& values) {
        const auto* lo =
            reinterpret_cast<const std::uint16_t*>(values.records + row * values.layout.bytes());
        return join_float(values.hi[row * columns + column], lo[column]);
      };
      const double expected = keep * static_cast<double>(weight(then));
      EXPECT_NEAR(weight(now), expected, 1e-6 * std::abs(expected)) << "row " << row;
    }
  }
}

TEST(ModelSource, TheNewestCheckpointIsTaken) {
  const TemporaryFolder folder;
  save_random_checkpoint(folder.path(), tiny_model(), 10);
  save_random_checkpoint(folder.path(), tiny_model(), 200);
  EXPECT_EQ(find_model(folder.path()).step, 200);
  EXPECT_EQ(find_model(folder / "checkpoints").step, 200);
  EXPECT_EQ(find_model(folder / "checkpoints/0000000010").step, 10);
  EXPECT_EQ(open_tokenizer(find_model(folder.path()))->name(), "bytes");
}

// A small Hugging Face folder whose config is changed line by line.
class HuggingFaceFolder : public testing::Test {
 protected:
  void SetUp() override {
    save_random_checkpoint(folder_.path(), tiny_model(), 1);
    export_model(find_model(folder_.path()), ExportFormat::hugging_face, folder_ / "hf");
    config_ = file_bytes(folder_ / "hf/config.json");
  }
  // Replaces the value of a key (or adds it), and tries to load the model.
  void load_with(const std::string& key, const std::string& value) {
    std::string text = config_;
    const std::size_t at = text.find("\"" + key + "\":");
    if (at != std::string::npos) text.erase(at, text.find_first_of(",\n", at) + 1 - at);
    const std::size_t comma = text.find_last_of('}');
    std::string body = text.substr(1, comma - 1);
    while (body.back() == '\n' || body.back() == ' ' || body.back() == ',') body.pop_back();
    folder_.write("hf/config.json", "{" + body + ", \"" + key + "\": " + value + "}");
    logits_of(find_model(folder_ / "hf"), {1, 2});
  }

  TemporaryFolder folder_;
  std::string config_;
};

TEST_F(HuggingFaceFolder, WhatCannotBeImportedIsNamed) {
  load_with("rope_scaling", "null");
  load_with("rope_parameters", "{\"rope_type\": \"default\", \"rope_theta\": 10000.0}");
  const auto refuse = [&](const char* key, const char* value, const char* part) {
    expect_input_error(part, [&] { load_with(key, value); });
  };
  refuse("model_type", "\"gpt2\"", "model_type 'gpt2'");
  refuse("attention_bias", "true", "attention_bias");
  refuse("mlp_bias", "true", "mlp_bias");
  refuse("hidden_act", "\"gelu\"", "hidden_act 'gelu'");
  refuse("rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 8.0}",
         "rope_scaling of type \"llama3\" has no number 'low_freq_factor'");
  refuse("rope_scaling", "{\"type\": \"dynamic\", \"factor\": 8.0}", "of type \"dynamic\"");
  refuse("rope_scaling", "{\"rope_type\": \"linear\", \"factor\": 0.0}", "rope_scaling.factor");
  refuse("model_type", "\"qwen2\"", "no tensor 'model.layers.0.self_attn.q_proj.bias'");
  refuse("model_type", "\"qwen3\"", "_norm.weight'");
  refuse("rope_parameters", "{\"rope_type\": \"yarn\"}", "rope_parameters");
  refuse("quantization_config", "{}", "quantization_config");
  refuse("hidden_size", "\"wide\"", "'hidden_size' is of the wrong type");
  refuse("hidden_size", "0", "hidden_size");
  refuse("hidden_size", "48", "config.json makes it");
  refuse("intermediate_size", "100", "config.json makes it");
  refuse("num_hidden_layers", "4", "no tensor 'model.layers.3.");
  refuse("num_hidden_layers", "2", "has no place");
  refuse("num_key_value_heads", "3", "not a multiple");
  refuse("vocab_size", "99", "config.json makes it");
  folder_.write("hf/config.json", "[1");
  expect_input_error("not a JSON object", [&] { find_model(folder_ / "hf"); });
}

TEST_F(HuggingFaceFolder, DamagedWeightsAreInputErrors) {
  const std::string weights = file_bytes(folder_ / "hf/model.safetensors");
  for (const std::size_t length :
       {std::size_t{0}, std::size_t{7}, std::size_t{99}, weights.size() / 2, weights.size() - 1}) {
    folder_.write("hf/model.safetensors", weights.substr(0, length));
    expect_input_error("model.safetensors", [&] { logits_of(find_model(folder_ / "hf"), {1}); });
  }
  fs::remove(folder_ / "hf/model.safetensors");
  expect_input_error("hf", [&] { logits_of(find_model(folder_ / "hf"), {1}); });
}

TEST_F(HuggingFaceFolder, TheTokenizerMustFit) {
  EXPECT_EQ(open_tokenizer(find_model(folder_ / "hf"))->name(), "bytes");
  fs::remove(folder_ / "hf/tokenizer_config.json");
  EXPECT_EQ(open_tokenizer(find_model(folder_ / "hf"))->name(), "hf");  // bytes, as others read it
  fs::remove(folder_ / "hf/tokenizer.json");
  expect_input_error("no tokenizer.json or tokenizer.model",
                     [&] { open_tokenizer(find_model(folder_ / "hf")); });
  EXPECT_EQ(open_tokenizer(find_model(folder_ / "hf", "bytes"))->name(), "bytes");
}

TEST(ModelSource, WrongFoldersAndMismatchesAreInputErrors) {
  const TemporaryFolder folder;
  expect_input_error("no such folder", [&] { find_model(folder / "nothing"); });
  expect_input_error("no model there", [&] { find_model(folder.path()); });

  const fs::path checkpoint = save_random_checkpoint(folder.path(), tiny_model("shared"), 3);
  ModelSource source = find_model(folder.path());
  source.model.productkey_args.layers = "1";
  expect_input_error("no tensor 'layers.", [&] { logits_of(source, {1}); });
  source = find_model(folder.path());
  source.model.productkey_args.mem_n_keys = 23;
  expect_input_error("the config makes it", [&] { logits_of(source, {1}); });
  source = find_model(folder.path());
  fs::resize_file(checkpoint / "model.safetensors", 1000);
  expect_input_error("model.safetensors", [&] { logits_of(source, {1}); });
}

}  // namespace
}  // namespace memengine
