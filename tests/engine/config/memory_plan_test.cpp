// What a plan counts, and what a device refuses before anything is planned.
#include "engine/config/memory_plan.h"

#include <gtest/gtest.h>

#include <sstream>

#include "engine/config/absent_gpu.h"
#include "engine/inference/inference_model.h"
#include "engine/training/plan_advice.h"
#include "engine/training/training_model.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

RunConfig config(std::vector<std::string> overrides = {}) {
  overrides.insert(overrides.begin(), {"dump_dir=unused", "distributed.model_dtype=fp32"});
  return parse_run_config(
      "{name: test, model: {dim: 64, n_layers: 2, n_heads: 2, vocab_size: 100, productkey_args: "
      "{is_enabled: true, layers: \"1\", mem_n_keys: 256, mem_heads: 2, mem_knn: 8, mem_k_dim: 16, "
      "zero_copy: true}}, data: {batch_size: 4, seq_len: 32, tokenizer: {name: bytes}}}",
      "test", overrides);
}

TEST(MemoryPlan, TrainingKeepsTheOptimizersRecordsAndInferenceTheWeights) {
  const std::int64_t values = 256 * 256 * 64;
  const std::int64_t record = 64 * 2 + 2 * 64 * 4 + 16;
  EXPECT_EQ(TrainingModel::plan(config(), Device::cpu).host_bytes(),
            2 * values + 256 * 256 * record);
  EXPECT_EQ(InferenceModel::plan(config().model, {}, Device::cpu).host_bytes(), 4 * values);
}

TEST(MemoryPlan, CountsBatchesAndTheUseOfRows) {
  const MemoryPlan without = TrainingModel::plan(config(), Device::cpu);
  const MemoryPlan with = TrainingModel::plan(config({"validation.every=5"}), Device::cpu);
  EXPECT_GE(without.device.at("batches"), 4 * 32 * 4 * 4);
  EXPECT_FALSE(without.device.contains("use of rows"));
  EXPECT_EQ(with.device.at("use of rows"), 256 * 256 * 4);
  const MemoryPlan more = TrainingModel::plan(config({"grad_acc_steps=4"}), Device::cpu);
  EXPECT_GT(more.device.at("batches"), without.device.at("batches"));
}

// Values from "key=value (now ...)".
std::vector<std::string> overrides_in(const std::string& advice) {
  std::vector<std::string> overrides;
  std::istringstream words(advice);
  for (std::string word; words >> word;) {
    if (word.find('=') != std::string::npos) overrides.push_back(word);
  }
  return overrides;
}

// A GPU's plan needs none; where there is one, what it says itself is the measure.
TEST(MemoryPlan, AnAbsentGpuIsPlannedForAsIfItWereHere) {
  for (const char* dtype : {"fp32", "bf16"}) {
    for (const char* zero_copy : {"true", "false"}) {
      const RunConfig run =
          config({std::string("distributed.model_dtype=") + dtype, "model.dim=512",
                  "model.n_heads=8", "model.n_layers=8", "model.productkey_args.layers='2,5'",
                  "model.productkey_args.mem_n_keys=512", "model.productkey_args.mem_knn=32",
                  "model.productkey_args.mem_k_dim=256", "data.batch_size=8", "data.seq_len=1024",
                  std::string("model.productkey_args.zero_copy=") + zero_copy});
      ModelMemory planning;
      const Transformer transformer(run.model, training_size(run, Device::cuda), planning);
      const std::int64_t estimated = estimated_pass_scratch_bytes(transformer) +
                                     estimated_row_scratch_bytes(transformer) + (32 << 20);
      const MemoryPlan plan = TrainingModel::plan(run, Device::cuda);
      const std::int64_t difference = estimated - plan.device.at("scratch");
      EXPECT_LE(std::abs(difference), std::max<std::int64_t>(plan.device_bytes() / 50, 64 << 20));
      if (!can_be_asked(Device::cuda)) {
        EXPECT_LE(std::abs(difference), 4 << 20);
      }
    }
  }
}

TEST(MemoryPlan, FitsAMachineThatIsTold) {
  const MemoryPlan plan = TrainingModel::plan(config(), Device::cuda);
  MemoryBudget machine{std::int64_t{80} << 30, std::int64_t{128} << 30, "were told"};
  EXPECT_FALSE(plan_shortage(plan, Device::cuda, machine));
  machine.gpu_bytes = plan.device_bytes() - 1;
  ASSERT_TRUE(plan_shortage(plan, Device::cuda, machine));
  EXPECT_NE(plan_shortage(plan, Device::cuda, machine)->find("GPU memory"), std::string::npos);
  const std::string advice = keys_that_fit(config(), Device::cuda, machine);
  EXPECT_FALSE(plan_shortage(TrainingModel::plan(config(overrides_in(advice)), Device::cuda),
                             Device::cuda, machine))
      << advice;
  machine = {std::int64_t{80} << 30, plan.host_bytes() - 1, "were told"};
  const auto shortage = plan_shortage(plan, Device::cuda, machine);
  ASSERT_TRUE(shortage);
  EXPECT_TRUE(shortage->ends_with("were told")) << *shortage;
}

TEST(MemoryPlan, ReadsSizes) {
  const auto bytes = [](const char* text) { return parse_bytes(text, "--gpu-memory"); };
  EXPECT_EQ(bytes("80GiB"), std::int64_t{80} << 30);
  EXPECT_EQ(bytes("79.5 gib"), std::int64_t{159} << 29);
  EXPECT_EQ(bytes("80G"), std::int64_t{80} << 30);
  EXPECT_EQ(bytes("80GB"), 80'000'000'000);
  EXPECT_EQ(bytes("512MiB"), 512 << 20);
  EXPECT_EQ(bytes("1000"), 1000);
  EXPECT_EQ(bytes("2TiB"), std::int64_t{2} << 40);
  for (const char* bad : {"", "x", "GiB", "-1GiB", "nan", "inf", "80 Gifts", "80GiBs", "1e30G"}) {
    EXPECT_THROW(bytes(bad), Error) << bad;
  }
}

TEST(MemoryPlan, ACacheOfHostRowsTakesAQuarterMore) {
  const auto cache = [](const MemoryPlan& plan) {
    return plan.device.contains("row cache") ? plan.device.at("row cache") : 0;
  };
  EXPECT_EQ(cache(TrainingModel::plan(config(), Device::cpu)), 0);
  const std::string none = "model.productkey_args.cache_gib=0";
  const MemoryPlan gpu = TrainingModel::plan(config({"data.seq_len=512"}), Device::cuda);
  EXPECT_EQ(gpu.cached_rows, gpu.table_rows) << "a small table";
  EXPECT_EQ(cache(TrainingModel::plan(config({"data.seq_len=512", none}), Device::cuda)), 0);

  std::vector<std::string> keys = {"data.seq_len=512", "data.batch_size=256", "model.dim=1024",
                                   "model.n_heads=16", "model.productkey_args.mem_n_keys=2048"};
  const MemoryPlan large = TrainingModel::plan(config(keys), Device::cuda);
  keys.push_back(none);
  const MemoryPlan without = TrainingModel::plan(config(keys), Device::cuda);
  EXPECT_GT(large.cached_rows, 0);
  EXPECT_LT(large.cached_rows, large.table_rows);
  EXPECT_LT(static_cast<double>(large.device_bytes()),
            1.26 * static_cast<double>(without.device_bytes()));
  EXPECT_GT(static_cast<double>(large.device_bytes()),
            1.2 * static_cast<double>(without.device_bytes()));
  keys.back() = "model.productkey_args.cache_gib=2";
  const std::int64_t two = cache(TrainingModel::plan(config(keys), Device::cuda));
  EXPECT_LE(two, std::int64_t{2} << 30);
  EXPECT_GT(two, std::int64_t{2043} << 20);
}

TEST(MemoryPlan, AdviceIsKeptToTheLetter) {
  const std::vector<std::string> table = {"model.productkey_args.mem_n_keys=20000"};
  const RunConfig large = config(table);
  ASSERT_TRUE(plan_shortage(TrainingModel::plan(large, Device::cpu), Device::cpu));
  const std::vector<std::string> alone = overrides_in(keys_that_fit(large, Device::cpu));
  ASSERT_EQ(alone.size(), 1U) << keys_that_fit(large, Device::cpu);
  EXPECT_FALSE(plan_shortage(TrainingModel::plan(config(alone), Device::cpu), Device::cpu));

  // The table and the batch, each too large alone.
  const RunConfig both = config({table[0], "data.batch_size=400000"});
  const std::vector<std::string> together = overrides_in(keys_that_fit(both, Device::cpu));
  ASSERT_EQ(together.size(), 3U) << keys_that_fit(both, Device::cpu);
  EXPECT_FALSE(plan_shortage(TrainingModel::plan(config(together), Device::cpu), Device::cpu));
}

TEST(MemoryPlan, InferenceSaysHowManyRowsFit) {
  Runtime runtime(Device::cpu);
  InferenceSize size;
  size.tokens = (std::int64_t{1} << 27) - 1;
  if (!plan_shortage(InferenceModel::plan(config().model, size, Device::cpu), Device::cpu)) {
    GTEST_SKIP() << "this machine is too large";
  }
  size.ask_for_rows = [](std::int64_t rows) { return fmt::format("rows={}", rows); };
  try {
    const InferenceModel model(config().model, size, runtime);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    const std::string message = error.what();
    const std::size_t at = message.find("set rows=");
    ASSERT_NE(at, std::string::npos) << message;
    size.tokens = std::stoll(message.substr(at + 9));
    EXPECT_FALSE(
        plan_shortage(InferenceModel::plan(config().model, size, Device::cpu), Device::cpu));
  }
}

TEST(MemoryPlan, AGpuPicksAtMost128RowsAHead) {
  const RunConfig wide = config({"model.productkey_args.mem_knn=200"});
  EXPECT_NO_THROW(TrainingModel::plan(wide, Device::cpu));
  try {
    TrainingModel::plan(wide, Device::cuda);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::input);
    EXPECT_NE(std::string(error.what()).find("mem_knn=200"), std::string::npos);
  }
}

}  // namespace
}  // namespace memengine
