// The Python file beside an exported model computes what this program does. Runs where
// $MEMENGINE_PYTHON (python3 if unset) has NumPy; nothing else of this project needs Python.
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "engine/model_files/export.h"
#include "engine/model_files/model_source.h"
#include "tests/engine/inference/inference_testing.h"
#include "tests/engine/training/training_testing.h"
#include "tests/io/io_testing.h"

namespace memengine {
namespace {

struct Form {
  const char* name;
  std::vector<std::string> overrides;
};

class PythonReader : public SmallRuns, public testing::WithParamInterface<Form> {
 protected:
  static std::string python() {
    const char* named = std::getenv("MEMENGINE_PYTHON");
    return named == nullptr ? "python3" : named;
  }
  // What a command prints; nothing where it fails.
  std::string printed(const std::string& command) const {
    const std::string file = (folder_ / "printed").string();
    if (std::system((command + " > " + file + " 2> " + file + ".error").c_str()) != 0) return "";
    return file_bytes(file);
  }
};

TEST_P(PythonReader, ComputesTheSameLogits) {
  if (printed(python() + " -c 'import numpy; print(1)'").empty()) {
    GTEST_SKIP() << "no NumPy in " << python() << ": name another with MEMENGINE_PYTHON";
  }
  std::vector<std::string> overrides = GetParam().overrides;
  overrides.insert(overrides.end(), {"steps=5", "model.dim=16"});
  train("run", overrides);
  ASSERT_EQ(error, "");
  export_model(find_model(folder_ / "run"), ExportFormat::reference, folder_ / "out");
  const std::vector<std::int32_t> tokens = {1, 4, 256, 3, 3, 0, 6, 2, 5, 99, 1, 1};
  const std::vector<float> expected = logits_of(find_model(folder_ / "out"), tokens, true);
  const std::string text =
      printed(fmt::format("cd {} && {} -c 'from read_model import Model; [print(x) for x in "
                          "Model().logits([{}]).ravel()]'",
                          (folder_ / "out").string(), python(), fmt::join(tokens, ",")));
  std::istringstream lines(text);
  std::vector<double> found;
  for (double x = 0; lines >> x;) found.push_back(x);
  ASSERT_EQ(found.size(), expected.size()) << file_bytes(folder_ / "printed.error");
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(found[i] - static_cast<double>(expected[i])));
  }
  EXPECT_LT(largest, 1e-4);
  EXPECT_FALSE(printed(fmt::format("{} {} 1 2", python(), (folder_ / "out/read_model.py").string()))
                   .empty());
}

constexpr const char* memory = "model.productkey_args.";

INSTANTIATE_TEST_SUITE_P(
    , PythonReader,
    testing::Values(
        Form{"replacing", {}},
        Form{"beside_shared_gated_layernorm",
             {std::string(memory) + "layers='0,1'", std::string(memory) + "placement=beside",
              std::string(memory) + "mem_gated=true", std::string(memory) + "mem_heads=3",
              std::string(memory) + "mem_query_norm=layernorm",
              std::string(memory) + "mem_value_dtype=fp32"}},
        Form{"own_tables_plain",
             {std::string(memory) + "layers='0,1'", std::string(memory) + "mem_share_values=false",
              std::string(memory) + "swilu_projection=false",
              std::string(memory) + "mem_query_norm=none"}},
        Form{"peer", {std::string(memory) + "peer_variant=true"}},
        Form{"dense_llama3",
             {std::string(memory) + "is_enabled=false", "model.n_heads=4", "model.n_kv_heads=2",
              "model.head_dim=8", "model.qkv_bias=true", "model.qk_norm=true",
              "model.weight_tying=true", "model.sliding_window=5", "model.rope_scaling.type=llama3",
              "model.rope_scaling.factor=4",
              "model.rope_scaling.original_max_position_embeddings=16"}},
        Form{"dense_linear",
             {std::string(memory) + "is_enabled=false", "model.rope_scaling.type=linear",
              "model.rope_scaling.factor=3"}}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace memengine
