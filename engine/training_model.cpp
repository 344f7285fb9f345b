// The same construction twice: on planning arenas to count, on real ones to run.
#include "engine/training_model.h"

#include <algorithm>
#include <utility>

#include "engine/runtime/runtime_cuda.h"
#include "kernels/reduce.h"

namespace memengine {

ModelSize training_size(const RunConfig& config, Device device) {
  ModelSize size;
  size.tokens = config.data.batch_size * config.data.seq_len;
  size.length = config.data.seq_len;
  size.micro_batches = config.grad_acc_steps;
  size.training = true;
  const bool bf16 = config.distributed.model_dtype == ModelDtype::bf16 && device == Device::cuda;
  size.dtype = bf16 ? DType::bf16 : DType::f32;
  return size;
}

namespace {

// Of the model's passes, and of the sums that the optimizer takes over all gradients.
std::int64_t step_scratch_bytes(const Transformer& transformer, Device device) {
  std::int64_t bytes =
      std::max(transformer.scratch_bytes(device),
               reduce_scratch_bytes(device, transformer.parameters().values().size()));
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      bytes = std::max(bytes, reduce_scratch_bytes(device, table.row_gradients().size()));
    }
  }
  return std::max(bytes, reduce_scratch_bytes(device, transformer.size().tokens));  // the losses
}

}  // namespace

// Everything that is built from arenas.
struct TrainingModel::Parts {
  std::unique_ptr<Transformer> transformer;
  std::unique_ptr<Optimizer> optimizer;

  Parts(const RunConfig& config, Device device, ModelMemory& memory) {
    transformer =
        std::make_unique<Transformer>(config.model, training_size(config, device), memory);
    const ProductKeyConfig& args = config.model.productkey_args;
    OptimizerSettings settings;
    settings.config = config.optim;
    settings.guard = config.guard;
    settings.value_learning_rate = args.value_fixed_lr.value_or(config.optim.lr);
    settings.value_weight_decay = args.value_weight_decay;
    settings.dense_rows = args.value_optimizer == ValueOptimizer::dense_adamw;
    settings.total_steps = config.steps;
    settings.seed = static_cast<std::uint64_t>(config.seed);
    for (const MemoryBank& bank : transformer->banks()) {
      settings.tables += static_cast<std::int64_t>(bank.tables().size());
    }
    const Tensor values = transformer->parameters().values();
    optimizer = std::make_unique<Optimizer>(settings, values.size(), values.dtype(), memory.device);
  }
};

namespace {

// Weights and both moments in FP32, and the tables with the step of each row's last update.
std::int64_t checkpoint_bytes(const Transformer& transformer) {
  std::int64_t bytes = 3 * transformer.parameters().values().bytes();
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      const ValueRows& rows = table.rows();
      bytes += rows.rows * (rows.v_dim() * (4 + 2 * element_bytes(rows.layout.moments)) + 4);
    }
  }
  return bytes;
}

}  // namespace

MemoryPlan TrainingModel::plan(const RunConfig& config, Device device) {
  ModelMemory memory;
  const Parts parts(config, device, memory);
  MemoryPlan plan;
  plan.device = memory.device.bytes_by_purpose();
  for (const auto& [purpose, bytes] : memory.temporary.bytes_by_purpose()) {
    plan.device[purpose] += bytes;
  }
  plan.device["scratch"] += step_scratch_bytes(*parts.transformer, device);
  if (device == Device::cuda) plan.device["scratch"] += cuda::gemm_workspace_bytes;
  plan.host = memory.host.bytes_by_purpose();
  plan.checkpoint_bytes = checkpoint_bytes(*parts.transformer);
  return plan;
}

TrainingModel::TrainingModel(const RunConfig& config, Runtime& runtime)
    : runtime_(runtime), seed_(static_cast<std::uint64_t>(config.seed)) {
  const Device device = runtime.context().device;
  plan_ = plan(config, device);
  check_plan(plan_, device);

  ModelMemory planned;
  const Parts counted(config, device, planned);
  memory_.device = Arena(device, planned.device.planned_bytes());
  memory_.temporary = Arena(device, planned.temporary.planned_bytes());
  if (planned.host.planned_bytes() > 0) {
    memory_.host =
        Arena(HostBlock(planned.host.planned_bytes(), device == Device::cuda, "the value table"));
  }
  Parts parts(config, device, memory_);
  transformer_ = std::move(parts.transformer);
  optimizer_ = std::move(parts.optimizer);
  runtime.reserve_scratch(step_scratch_bytes(*transformer_, device));
  runtime.context().allow_tf32 = config.distributed.matmul_allow_tf32;

  for (MemoryBank& bank : transformer_->banks()) {
    bank.set_decay(optimizer_->row_decay());
    for (const ValueTable& table : bank.tables()) {
      row_gradients_.push_back(
          {table.rows(), bank.step_rows(), table.row_gradients(), table.rows_ever_used()});
    }
  }
  optimizer_->initialize(runtime.context());
}

void TrainingModel::initialize() {
  transformer_->initialize(runtime_.context(), seed_);
}

void TrainingModel::update() {
  const Context& context = runtime_.context();
  const ParameterStore& parameters = transformer_->parameters();
  transformer_->reduce_row_gradients(context);
  context.communicator->all_reduce_sum(context, parameters.gradients());
  optimizer_->step(context, {parameters.values(), parameters.compute(), parameters.gradients()},
                   row_gradients_);
}

}  // namespace memengine
