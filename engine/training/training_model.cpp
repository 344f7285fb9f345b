// The same construction twice: on planning arenas to count, on real ones to run.
#include "engine/training/training_model.h"

#include <algorithm>
#include <utility>

#include "engine/config/absent_gpu.h"
#include "engine/config/cache_size.h"
#include "engine/config/row_optimizer_choice.h"
#include "engine/training/batch_buffers.h"
#include "engine/training/plan_advice.h"
#include "engine/training/usage.h"
#include "engine/training/watch/probe.h"
#include "io/checkpoints/checkpoint.h"
#include "io/files/parallel.h"
#include "kernels/linear/measured/measured.h"
#include "kernels/reduce.h"
#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime_cuda.h"

namespace memengine {

ModelSize training_size(const RunConfig& config, Device device) {
  ModelSize size;
  size.tokens = config.data.batch_size * config.data.seq_len;
  size.length = config.data.seq_len;
  size.micro_batches = config.grad_acc_steps;
  size.training = true;
  size.trained = config.train;
  size.updated_rows = config.rows_per_step.value_or(0);
  const bool bf16 = config.distributed.model_dtype == ModelDtype::bf16 && device == Device::cuda;
  size.dtype = bf16 ? DType::bf16 : DType::f32;
  if (config.distributed.model_dtype == ModelDtype::fp64) size.dtype = DType::f64;
  size.place = config.ranks;
  const ProductKeyConfig& memory = config.model.productkey_args;
  if (memory.zero_copy && row_optimizer(memory).may_be_staged) {
    size.staging_bytes = cache_bytes(memory).value_or(0);
  }
  return size;
}

namespace {

constexpr std::int64_t least_cache_bytes = std::int64_t{640} << 20;
// What a cache as large as the memory allows leaves free: for CUDA's own and what comes later.
constexpr std::int64_t left_free_bytes = std::int64_t{2} << 30;

// Of the model's passes, and of the sums over all gradients and all losses.
std::int64_t step_scratch_bytes(const Transformer& transformer, Device device) {
  if (!can_be_asked(device)) return estimated_pass_scratch_bytes(transformer);
  return std::max({transformer.scratch_bytes(device), Probe::scratch_bytes(transformer, device),
                   reduce_scratch_bytes(device, transformer.parameters().values().size()),
                   reduce_scratch_bytes(device, transformer.size().tokens)});
}

// Of the rows' update, on the side stream.
std::int64_t side_scratch_bytes(const Transformer& transformer, Device device) {
  if (!can_be_asked(device)) return estimated_row_scratch_bytes(transformer);
  std::int64_t bytes = 0;
  for (const MemoryBank& bank : transformer.banks()) {
    bytes = std::max(bytes, bank.scratch_bytes(device));
    bytes = std::max(bytes, reduce_scratch_bytes(device, std::ssize(bank.tables())));
  }
  return bytes;
}

}  // namespace

// Everything that is built from arenas.
struct TrainingModel::Parts {
  std::unique_ptr<Transformer> transformer;
  std::optional<WeightShards> shards;
  std::unique_ptr<Optimizer> optimizer;

  Parts(const RunConfig& config, const ModelSize& size, ModelMemory& memory) {
    transformer = std::make_unique<Transformer>(config.model, size, memory);
    const ProductKeyConfig& args = config.model.productkey_args;
    OptimizerSettings settings;
    settings.config = config.optim;
    settings.guard = config.guard;
    settings.value_learning_rate = args.value_fixed_lr.value_or(config.optim.lr);
    settings.value_weight_decay = args.value_weight_decay;
    settings.rows = &row_optimizer(args);
    settings.total_steps = config.steps;
    settings.seed = static_cast<std::uint64_t>(config.seed);
    for (const MemoryBank& bank : transformer->banks()) {
      settings.tables += static_cast<std::int64_t>(bank.tables().size());
    }
    shards.emplace(transformer->parameters(), config.ranks, config.distributed.zero1);
    settings.first_parameter = shards->first();
    optimizer = std::make_unique<Optimizer>(
        settings, shards->count(), transformer->parameters().values().dtype(), memory.device);
  }
};

namespace {

// Weights in FP32, both moments of those that are trained, the tables with the step of each row's
// last update, and what decayed in each step.
std::int64_t checkpoint_bytes(const Transformer& transformer, std::int64_t steps) {
  const ParameterStore& parameters = transformer.parameters();
  std::int64_t bytes = 4 * (parameters.parameter_count() + 2 * parameters.trained_count());
  for (const MemoryBank& bank : transformer.banks()) {
    for (const ValueTable& table : bank.tables()) {
      bytes += table.rows().rows * table.rows().layout.state_bytes();
    }
  }
  return bytes + (steps + 1) * element_bytes(DType::f64);
}

// Batches that are filled ahead, of three integers a token; and pages of shards
// (io/shards/shard.h).
std::int64_t loader_bytes(const RunConfig& config) {
  const std::int64_t batches =
      std::clamp<std::int64_t>(config.data.prefetch_size, 1, 64) + 3 * config.grad_acc_steps;
  return 12 * batches * config.data.batch_size * config.data.seq_len + (std::int64_t{4} << 20);
}

// A block for each thread that writes a checkpoint.
std::int64_t saving_bytes() {
  return static_cast<std::int64_t>(file_threads() * SaveOptions{}.block_bytes);
}

// In the first place: auto may decide against it.
bool may_gather_by_host(const ProductKeyConfig& memory) {
  return memory.zero_copy && memory.gather_path != GatherPath::gpu &&
         memory.mem_value_dtype == ValueDtype::bf16 && memory.value_weight_decay == 0;
}

}  // namespace

// Unless the config says how much, the model takes a quarter more memory than it would without a
// cache, or what a step of a small model updates: enough on text, and a small part of the whole.
// Lookups that read the cache need no gathered rows, and the cache gets what that saves; with it
// goes where each row of the table is.
ModelSize TrainingModel::staged_size(const RunConfig& config, Device device, bool shares_memory) {
  ModelSize size = training_size(config, device);
  size.shares_memory = shares_memory;
  const ProductKeyConfig& memory = config.model.productkey_args;
  if (device != Device::cuda || !memory.zero_copy || cache_bytes(memory) ||
      !row_optimizer(memory).may_be_staged) {
    return size;
  }
  const std::int64_t without = plan(config, size, device).device_bytes();
  const ModelConfig& model = config.model;
  const auto tables = static_cast<std::int64_t>(
      (memory.mem_share_values ? 1 : model.memory_layers().size()) * (memory.peer_variant ? 2 : 1));
  const RowOwners owners{memory.rows(), config.ranks.size};
  const StagedSize table = {.places = 0, .guests = 0, .listed = 0, .table_rows = owners.part()};
  const std::int64_t maps = tables * staged_fixed_bytes(table);
  const std::int64_t least = maps + std::max(least_cache_bytes, without / 4);
  size.staging_bytes = least;
  const std::int64_t with = plan(config, size, device).device_bytes();
  std::int64_t all = without + least;
  if (cache_takes_free_memory(memory) && can_be_asked(device)) {
    all = std::max(all, MemoryBudget::here(device).gpu_bytes - left_free_bytes);
  }
  size.staging_bytes = std::max(least, least + all - with);
  return size;
}

MemoryPlan TrainingModel::plan(const RunConfig& config, Device device, bool shares_memory) {
  return plan(config, staged_size(config, device, shares_memory), device);
}

MemoryPlan TrainingModel::plan(const RunConfig& config, const ModelSize& size, Device device) {
  check_device(config.model, device);
  ModelMemory memory;
  const Parts parts(config, size, memory);
  MemoryPlan plan;
  plan.device = memory.device.bytes_by_purpose();
  for (const auto& [purpose, bytes] : memory.temporary.bytes_by_purpose()) {
    plan.device[purpose] += bytes;
  }
  plan.device["scratch"] += step_scratch_bytes(*parts.transformer, device) +
                            side_scratch_bytes(*parts.transformer, device);
  if (device == Device::cuda) plan.device["scratch"] += cuda::gemm_workspace_bytes;
  const std::int64_t gradients = parts.transformer->parameters().gradients().bytes();
  if (size.shares_memory && GradientBuckets::copies(device, gradients)) {
    plan.device["scratch"] += CopiedSum::planned_bytes(gradients, size.place.size);
  }
  plan.device["batches"] = BatchBuffers::planned_bytes(
      config.grad_acc_steps, config.data.batch_size, config.data.seq_len,
      config.model.document_mask, config.model.sliding_window.value_or(0));
  const std::int64_t counts = UsageCounter::planned_bytes(*parts.transformer);
  if (config.validation.every > 0 && counts > 0) plan.device["use of rows"] = counts;
  if (config.probe_freq) plan.device["probe"] = Probe::planned_bytes(*parts.transformer);
  plan.host = memory.host.bytes_by_purpose();
  for (const MemoryBank& bank : parts.transformer->banks()) {
    for (const ValueTable& table : bank.tables()) {
      if (table.staged().capacity() == 0) continue;
      // Guests are what a lookup reads, as gathered rows are.
      if (!table.reads_by_place()) continue;
      const StagedRows& staged = table.staged();
      const std::int64_t guests = guest_rows(staged).bytes() + staged.guests.bytes();
      plan.device["row cache"] -= guests;
      plan.device["memory layers"] += guests;
      plan.table_rows += table.rows().rows;
      plan.cached_rows += table.staged().capacity();
    }
    if (device == Device::cuda && may_gather_by_host(config.model.productkey_args)) {
      plan.host["gather buffers"] +=
          HostGather::planned_bytes(bank.gather_capacity(), bank.values().rows().v_dim());
    }
  }
  plan.checkpoint_bytes = checkpoint_bytes(*parts.transformer, config.steps);
  if (device == Device::cpu) {
    add_process_bytes(plan, config.data.tokenizer.name != TokenizerKind::bytes);
    plan.device["loader"] += loader_bytes(config);
    if (config.checkpoint.dump.every > 0) {
      plan.device["saving"] += std::min(plan.checkpoint_bytes, saving_bytes());
    }
  }
  return plan;
}

TrainingModel::TrainingModel(const RunConfig& config, Runtime& runtime)
    : runtime_(runtime), seed_(static_cast<std::uint64_t>(config.seed)) {
  const Device device = runtime.context().device;
  Communicator& ranks = *runtime.context().communicator;
  const ModelSize size = staged_size(config, device, ranks.shares_memory());
  plan_ = plan(config, size, device);
  const auto shortage = plan_shortage(plan_, device);
  const int others_lack = ranks.sum(shortage ? 1 : 0);
  if (shortage) fail_input("{}: {}", *shortage, keys_that_fit(config, device));
  if (others_lack > 0) fail_input("the memory of another rank does not hold its part of the model");

  ModelMemory planned;
  const Parts counted(config, size, planned);
  memory_.device = Arena(device, planned.device.planned_bytes());
  memory_.temporary = Arena(device, planned.temporary.planned_bytes());
  if (planned.host.planned_bytes() > 0) {
    memory_.host =
        Arena(HostBlock(planned.host.planned_bytes(), device == Device::cuda, "the value table"));
  }
  Parts parts(config, size, memory_);
  transformer_ = std::move(parts.transformer);
  optimizer_ = std::move(parts.optimizer);
  weight_shards_ = std::move(parts.shards);
  runtime.reserve_scratch(step_scratch_bytes(*transformer_, device),
                          side_scratch_bytes(*transformer_, device));
  runtime.context().allow_tf32 = config.distributed.matmul_allow_tf32;
  measure_products(true);

  for (MemoryBank& bank : transformer_->banks()) {
    bank.find_peers(ranks);
    bank.set_decay(optimizer_->row_decay());
    for (const ValueTable& table : bank.tables()) {
      row_gradients_.push_back({table.rows(), table.staged(), bank.updated_rows(),
                                table.row_gradients(), table.gradient_square_sum(),
                                table.rows_ever_used()});
    }
  }
  row_exchange_.emplace(runtime, transformer_->banks());
  gradient_buckets_.emplace(runtime, transformer_->parameters().gradients(),
                            transformer_->parameters().zeroed_gradients());
  optimizer_->initialize(runtime.context());
  if (device == Device::cuda && may_gather_by_host(config.model.productkey_args)) {
    choose_gather_path(config.model.productkey_args.gather_path);
  }
}

TrainingModel::~TrainingModel() {
  runtime_.context().communicator->forget_peers();
}

bool TrainingModel::asks_host() const {
  const std::vector<MemoryBank>& banks = transformer_->banks();
  return std::any_of(banks.begin(), banks.end(),
                     [](const MemoryBank& bank) { return bank.asks_host(); });
}

void TrainingModel::initialize() {
  transformer_->initialize(runtime_.context(), seed_);
}

// --- A step's updates ----------------------------------------------------------------------------
//
// The rows' part runs beside the dense one, on the side stream, and beside the exchange of staged
// rows (row_exchange.h). The main stream waits for the others at the end, so that a step can be
// recorded as one graph.

void TrainingModel::reduce_rows() {
  gradient_buckets_->sum_whole();
  wait_for(runtime_.side(), runtime_.context());
  for (const MemoryBank& bank : transformer_->banks()) bank.reduce_gradients(runtime_.side());
  optimizer_->measure_rows(runtime_.side(), row_gradients_);
}

// What is summed over ranks is summed on the stream that needs it, in one order on all ranks.
void TrainingModel::finish_step() {
  const Context& context = runtime_.context();
  const Context& side = runtime_.side();
  const ParameterStore& parameters = transformer_->parameters();
  const DenseParameters dense{parameters.values(), parameters.compute(), parameters.gradients()};
  wait_for(side, context);  // both take part in a graph without memory layers too
  wait_for(runtime_.link(), context);
  const std::int64_t last = gradient_buckets_->start_last();
  optimizer_->measure_dense(context, dense.gradients, last, [&] { gradient_buckets_->finish(); });
  wait_for(context, side);
  optimizer_->guard_step(context);
  row_exchange_->finish();
  wait_for(side, context);
  optimizer_->update_rows(side, row_gradients_);
  optimizer_->update_dense(context, dense);
  weight_shards_->hand_out(context, dense);
  wait_for(context, side);
  gradient_buckets_->release();
  optimizer_->count_step(context);
}

}  // namespace memengine
