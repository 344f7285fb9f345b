// Weights in F32, BF16 and F16, in one file or several.
#include <gtest/gtest.h>

#include "engine/model_files/model_source.h"
#include "tests/engine/inference/inference_testing.h"
#include "tests/engine/model_files/tiny_llama.h"
#include "tests/expect_input_error.h"

namespace memengine {
namespace {

TEST(NumberFormats, AreReadExactly) {
  const TemporaryFolder folder;
  const std::vector<std::int32_t> tokens = {256, 3, 1, 4, 1, 5};
  write_tiny_llama(folder, "f32");
  const std::vector<float> expected = logits_of(find_model(folder / "f32"), tokens);
  EXPECT_EQ(find_model(folder / "f32").half_precision, "");
  for (const auto& [dtype, name] :
       {std::pair(FileDtype::bf16, "BF16"), std::pair(FileDtype::f16, "F16")}) {
    for (const int files : {1, 3, 7}) {
      const std::string model = fmt::format("{}_{}", name, files);
      write_tiny_llama(folder, model, {dtype, files});
      const ModelSource source = find_model(folder / model);
      EXPECT_EQ(source.half_precision, name);
      EXPECT_EQ(logits_of(source, tokens), expected) << model;
    }
  }
}

TEST(NumberFormats, AFileThatIsMissingIsNamed) {
  const TemporaryFolder folder;
  write_tiny_llama(folder, "model", {FileDtype::bf16, 3});
  std::filesystem::remove(folder / "model/model-00002-of-00003.safetensors");
  expect_input_error("model-00002-of-00003.safetensors", [&] { find_model(folder / "model"); });
}

}  // namespace
}  // namespace memengine
