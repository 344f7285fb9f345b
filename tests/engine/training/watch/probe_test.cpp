// probe_freq: the same losses, and statistics that are those of the tensors.
#include "engine/training/watch/probe.h"

#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/engine/training/training_testing.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

std::vector<nlohmann::json> lines_of(const fs::path& file) {
  std::istringstream text(file_bytes(file));
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(text, line);) {
    lines.push_back(nlohmann::json::parse(line));
    EXPECT_EQ(lines.back().erase("created_at"), 1U);
  }
  return lines;
}

class Probing : public SmallRuns {
 protected:
  fs::path file(const std::string& run) const { return folder_ / run / "probe/probe.0.jsonl"; }
};

TEST_F(Probing, ChangesNoLossAndWritesALineAProbedStep) {
  std::vector<std::string> devices = {"cpu"};
  if (choose_device("auto") == Device::cuda) devices.push_back("cuda");
  const std::string memory = "model.productkey_args.";
  const std::vector<std::vector<std::string>> variants = {
      {},
      {"grad_acc_steps=3"},
      {memory + "peer_variant=true", memory + "value_weight_decay=0"},
      {memory + "is_enabled=false"},
      {memory + "zero_copy=true", memory + "layers=0,1", memory + "mem_heads=2"},
      {"distributed.model_dtype=bf16"}};
  int number = 0;
  for (const std::string& device : devices) {
    for (std::vector<std::string> overrides : variants) {
      overrides.push_back("device=" + device);
      SCOPED_TRACE(fmt::format("{}", fmt::join(overrides, " ")));
      const std::string name = std::to_string(number++);
      const TrainingRecord plain = train("plain" + name, overrides);
      ASSERT_EQ(error, "");
      EXPECT_FALSE(fs::exists(file("plain" + name)));
      overrides.push_back("probe_freq=5");
      const TrainingRecord probed = train("probed" + name, overrides);
      ASSERT_EQ(error, "");
      EXPECT_EQ(probed.losses, plain.losses);
      const auto lines = lines_of(file("probed" + name));
      ASSERT_EQ(lines.size(), 3U);
      EXPECT_EQ(lines[0]["global_step"], 1);
      EXPECT_EQ(lines[1]["global_step"], 5);
      EXPECT_EQ(lines[2]["global_step"], 10);
      // After a stop: the same lines.
      train("parts" + name, overrides, 7);
      train("parts" + name, overrides);
      EXPECT_EQ(lines_of(file("parts" + name)), lines);
    }
  }
}

TEST_F(Probing, SaysWhatAMemoryLayerDoes) {
  train("run", {"probe_freq=4", "model.productkey_args.mem_knn=4"});
  ASSERT_EQ(error, "");
  for (const nlohmann::json& line : lines_of(file("run"))) {
    const auto at = [&](const std::string& key) { return line.at(key).get<double>(); };
    const std::string layer = "layers.1.feed_forward.";
    EXPECT_NEAR(at(layer + "weights/mean"), 0.25, 1e-6) << "four weights that add up to 1";
    EXPECT_LE(at(layer + "weights/max_abs"), 1);
    EXPECT_LE(at(layer + "entropy/max_abs"), std::log(4.0) + 1e-6);
    EXPECT_GT(at(layer + "entropy/mean"), 0);
    EXPECT_GT(at(layer + "scores/std"), 0);
    for (const char* tensor :
         {"residual.tok_embeddings", "residual.layers.0.attention",
          "residual.layers.0.feed_forward", "residual.layers.1.attention",
          "residual.layers.1.feed_forward", "layers.0.attention.out", "layers.0.feed_forward.out",
          "layers.1.attention.out", "layers.1.feed_forward.out"}) {
      EXPECT_GT(at(std::string(tensor) + "/std"), 0) << tensor;
      EXPECT_GE(at(std::string(tensor) + "/max_abs"), std::abs(at(std::string(tensor) + "/mean")));
      EXPECT_EQ(at(std::string(tensor) + "/zeros"), 0) << tensor;
    }
    EXPECT_EQ(line.size(), 2 + 4 * (9 + 3)) << "no more than these";
  }
}

// The statistics against sums over the tensors that the model has after a pass.
TEST_F(Probing, StatisticsAreThoseOfTheTensors) {
  RunConfig run = config("direct", {});
  run.model.vocab_size = 258;
  Runtime runtime(Device::cpu);
  TrainingModel model(run, runtime);
  model.initialize();
  const std::int64_t tokens = run.data.batch_size * run.data.seq_len;
  std::vector<std::int32_t> ids = random_walk(tokens + 1), positions;
  for (std::int64_t i = 0; i < tokens; ++i) {
    positions.push_back(static_cast<std::int32_t>(i % run.data.seq_len));
  }
  TokenBatch batch;
  batch.tokens = Tensor(ids.data(), DType::i32, {tokens});
  batch.targets = Tensor(ids.data() + 1, DType::i32, {tokens});
  batch.layout.positions = Tensor(positions.data(), DType::i32, {tokens});
  batch.sequences = run.data.batch_size;
  Probe probe(5, model.transformer(), Device::cpu);
  EXPECT_TRUE(probe.due(1) && probe.due(5) && probe.due(10));
  EXPECT_FALSE(probe.due(2) || probe.due(6));
  EXPECT_FALSE(probe.take()) << "nothing was probed yet";
  PassHooks hooks;
  probe.attach(runtime.context(), hooks);
  model.transformer().forward(runtime.context(), batch, 0, 1.0, hooks);
  probe.fetch(runtime.context(), 5);
  const std::optional<ProbeReport> report = probe.take();
  ASSERT_TRUE(report);
  EXPECT_FALSE(probe.take()) << "once";
  EXPECT_EQ(report->step, 5);
  std::map<std::string, ProbeReport::Statistics> found;
  for (const auto& tensor : report->tensors) found[tensor.name] = tensor;
  for (const NamedTensor& state : model.transformer().residual_states()) {
    const auto* x = state.value.as<float>();
    double sum = 0, squares = 0, largest = 0;
    for (std::int64_t i = 0; i < state.value.size(); ++i) {
      sum += x[i];
      largest = std::max(largest, std::abs(static_cast<double>(x[i])));
    }
    const double mean = sum / static_cast<double>(state.value.size());
    for (std::int64_t i = 0; i < state.value.size(); ++i) squares += (x[i] - mean) * (x[i] - mean);
    ASSERT_TRUE(found.contains("residual." + state.name)) << state.name;
    const ProbeReport::Statistics& statistics = found["residual." + state.name];
    EXPECT_NEAR(statistics.mean, mean, 1e-9);
    EXPECT_NEAR(statistics.deviation, std::sqrt(squares / static_cast<double>(state.value.size())),
                1e-7);
    EXPECT_EQ(statistics.largest, largest);
  }
}

}  // namespace
}  // namespace memengine
