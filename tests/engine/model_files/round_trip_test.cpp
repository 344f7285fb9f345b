// From training to an exported model and back, with weights that were really trained.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/model_files/export.h"
#include "io/checkpoints/safetensors.h"
#include "tests/engine/inference/inference_testing.h"
#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

using RoundTrip = SmallRuns;

const std::vector<std::int32_t> text = {256, 1, 3, 6, 0, 2, 5, 5, 1, 4, 6, 3, 2, 0, 0};

TEST_F(RoundTrip, ATrainedDenseModelThroughBothForms) {
  for (const std::string tied : {"false", "true"}) {
    const std::string run = "dense_" + tied;
    const TrainingRecord record =
        train(run, {"model.productkey_args.is_enabled=false", "model.n_kv_heads=1",
                    "model.weight_tying=" + tied, "steps=30"});
    ASSERT_EQ(error, "");
    EXPECT_LT(record.losses.back(), 0.8 * record.losses.front());
    const ModelSource trained = find_model(folder_ / run);
    EXPECT_EQ(trained.step, 30);
    const std::vector<float> expected = logits_of(trained, text);
    export_model(trained, ExportFormat::hugging_face, folder_ / (run + "_hf"));
    export_model(trained, ExportFormat::reference, folder_ / (run + "_reference"));
    EXPECT_EQ(logits_of(find_model(folder_ / (run + "_hf")), text), expected);
    EXPECT_EQ(logits_of(find_model(folder_ / (run + "_reference")), text), expected);
    // Once more, from the imported model.
    export_model(find_model(folder_ / (run + "_hf")), ExportFormat::reference,
                 folder_ / (run + "_again"));
    EXPECT_EQ(logits_of(find_model(folder_ / (run + "_again")), text), expected);
  }
}

// Its query norm's statistics and the decay of its rows are part of what is exported.
TEST_F(RoundTrip, ATrainedMemoryModel) {
  train("memory", {"steps=30"});
  ASSERT_EQ(error, "");
  const ModelSource trained = find_model(folder_ / "memory");
  const std::vector<float> expected = logits_of(trained, text);
  export_model(trained, ExportFormat::reference, folder_ / "reference");
  const ModelSource exported = find_model(folder_ / "reference");
  EXPECT_EQ(logits_of(exported, text), expected);

  // Its rows are those that the forward pass reads, so any reader of the file computes the same:
  // BF16, whose lower 16 bits as a float are zero. The checkpoint keeps the masters.
  const auto with_lower_bits = [](const std::filesystem::path& file) {
    const SafetensorsReader reader(file);
    std::int64_t count = 0;
    for (const TensorInfo& tensor : reader.tensors()) {
      if (!tensor.name.ends_with("values.weight")) continue;
      std::vector<std::uint32_t> bits(tensor.bytes / 4);
      reader.read(tensor.name, 0, std::as_writable_bytes(std::span(bits)));
      count += std::count_if(bits.begin(), bits.end(), [](std::uint32_t b) { return b % 65536; });
    }
    return count;
  };
  EXPECT_EQ(with_lower_bits(folder_ / "reference/model.safetensors"), 0);
  EXPECT_GT(with_lower_bits(trained.folder / "model.safetensors"), 0);

  // In double it is the same model, to the rounding of floats.
  const std::vector<float> exact = logits_of(trained, text, true);
  EXPECT_EQ(logits_of(exported, text, true), exact);
  EXPECT_NE(exact, expected);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    ASSERT_NEAR(exact[i], expected[i], 2e-6 * std::max(1.0F, std::abs(expected[i]))) << i;
  }
}

}  // namespace
}  // namespace memengine
