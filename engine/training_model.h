// A model with its optimizer, in memory that was planned first.
#pragma once

#include <memory>
#include <vector>

#include "engine/config.h"
#include "engine/memory_plan.h"
#include "engine/runtime/runtime.h"
#include "model/transformer.h"
#include "optim/optimizer.h"

namespace memengine {

class TrainingModel {
 public:
  // What `config` would need on `device`; allocates nothing. model.vocab_size must be known.
  static MemoryPlan plan(const RunConfig& config, Device device);

  // Plans, checks that the plan fits (input error if not), allocates and builds. Parameters are
  // not initialised.
  TrainingModel(const RunConfig& config, Runtime& runtime);

  // Fresh weights from the config's seed.
  void initialize();

  // The step's loss, which decides with the gradient norms whether an update is applied.
  void watch(Tensor loss) { optimizer_->watch(loss); }

  // One optimizer update from the accumulated gradients.
  void update();

  Transformer& transformer() { return *transformer_; }
  const Optimizer& optimizer() const { return *optimizer_; }
  const MemoryPlan& memory_plan() const { return plan_; }

 private:
  struct Parts;

  Runtime& runtime_;
  std::uint64_t seed_;
  MemoryPlan plan_;
  ModelMemory memory_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::vector<RowGradients> row_gradients_;
};

// How the config's model is built for training: activation dtype by device and model_dtype (the CPU
// always computes in FP32), one forward pass of batch_size sequences of seq_len.
ModelSize training_size(const RunConfig& config, Device device);

}  // namespace memengine
