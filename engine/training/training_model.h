// A model with its optimizer, in memory that was planned first.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/config/memory_plan.h"
#include "engine/training/exchange/gradient_buckets.h"
#include "engine/training/exchange/row_exchange.h"
#include "engine/training/exchange/weight_shards.h"
#include "kernels/runtime/runtime.h"
#include "model/transformer.h"
#include "optim/optimizer.h"

namespace memengine {

class TrainingModel {
 public:
  // What `config` would need on `device`; allocates nothing. model.vocab_size must be known.
  // Of several ranks, `shares_memory` as their communicator says.
  static MemoryPlan plan(const RunConfig& config, Device device, bool shares_memory = false);

  // Plans, checks that the plan fits (input error if not), allocates and builds. Parameters are
  // not initialised. All ranks build theirs together.
  TrainingModel(const RunConfig& config, Runtime& runtime);
  ~TrainingModel();

  // Fresh weights from the config's seed.
  void initialize();

  // The step's loss, which decides with the gradient norms whether an update is applied.
  void watch(Tensor loss) { optimizer_->watch(loss); }

  // A step's updates. The rows' part runs on the runtime's side and link streams.
  //   row_exchange().start(bank)  once all picks of a bank are there
  //   reduce_rows()               once the last memory layer is through: row gradients, their norm
  //   finish_step()               finishes the exchange, and updates dense parameters beside rows;
  //                               joins the streams
  void reduce_rows();
  void finish_step();
  const RowExchange& row_exchange() const { return *row_exchange_; }
  // Sums dense gradients over ranks; finish_step() finishes it.
  GradientBuckets& gradient_buckets() { return *gradient_buckets_; }
  // The host has no part in a step, which then is the same sequence of launches every time.
  bool asks_host() const;

  // One sentence on who gathers the rows of a host table and what was measured; empty: no question.
  const std::string& gather_notice() const { return gather_notice_; }

  Transformer& transformer() { return *transformer_; }
  const Optimizer& optimizer() const { return *optimizer_; }
  const MemoryPlan& memory_plan() const { return plan_; }

 private:
  struct Parts;

  // Builds what gathers the rows of each bank, as the config says or as is fastest here.
  void choose_gather_path(GatherPath path);

  static ModelSize staged_size(const RunConfig& config, Device device, bool shares_memory);
  static MemoryPlan plan(const RunConfig& config, const ModelSize& size, Device device);

  Runtime& runtime_;
  std::uint64_t seed_;
  MemoryPlan plan_;
  ModelMemory memory_;
  std::unique_ptr<Transformer> transformer_;
  std::unique_ptr<Optimizer> optimizer_;
  std::optional<WeightShards> weight_shards_;
  std::vector<RowGradients> row_gradients_;
  std::optional<RowExchange> row_exchange_;
  std::optional<GradientBuckets> gradient_buckets_;
  std::vector<std::unique_ptr<HostGather>> gathers_;
  double gpu_share_ = 1;  // of the rows that are gathered
  std::string gather_notice_;
};

// How the config's model is built for training: activation dtype by device and model_dtype (the CPU
// always computes in FP32), one forward pass of batch_size sequences of seq_len. No staging unless
// the config asks for it.
ModelSize training_size(const RunConfig& config, Device device);

}  // namespace memengine
