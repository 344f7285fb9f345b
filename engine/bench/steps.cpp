// The trainer's loop without reports and checkpoints.
#include "engine/bench/steps.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

#include "engine/bench/timing.h"
#include "engine/runtime/device_memory.h"
#include "engine/runtime/philox.h"
#include "engine/runtime/step_graph.h"
#include "engine/training_step.h"
#include "engine/usage.h"

namespace memengine::bench {
namespace {

constexpr std::size_t different_steps = 8;  // then the same tokens come again

// Host memory that the device copies from without making the host wait.
class HostTokens {
 public:
  HostTokens(Device device, std::size_t count) : pinned_(device == Device::cuda) {
    if (pinned_) {
      data_ = static_cast<std::int32_t*>(allocate_pinned(count * sizeof(std::int32_t)));
    } else {
      ordinary_.resize(count);
      data_ = ordinary_.data();
    }
  }
  ~HostTokens() {
    if (pinned_) free_pinned(data_);
  }
  HostTokens(const HostTokens&) = delete;
  HostTokens& operator=(const HostTokens&) = delete;

  std::int32_t* data() const { return data_; }

 private:
  bool pinned_;
  std::int32_t* data_ = nullptr;
  std::vector<std::int32_t> ordinary_;
};

// Batches of uniformly random tokens: a target is the token behind, the document is the sequence.
class RandomBatches {
 public:
  RandomBatches(const RunConfig& config, Device device)
      : batch_size_(config.data.batch_size),
        length_(config.data.seq_len),
        micro_batches_(config.grad_acc_steps),
        per_batch_(static_cast<std::size_t>(batch_size_ * length_)),
        tokens_(device,
                different_steps * static_cast<std::size_t>(micro_batches_) * per_batch_ + 1),
        document_starts_(device, per_batch_) {
    const std::size_t all =
        different_steps * static_cast<std::size_t>(micro_batches_) * per_batch_ + 1;
    for (std::size_t i = 0; i < all; ++i) {
      const std::uint64_t word = philox(1, 2, i).word[0];
      tokens_.data()[i] = static_cast<std::int32_t>(
          word * static_cast<std::uint64_t>(config.model.vocab_size) >> 32);
    }
    std::fill_n(document_starts_.data(), per_batch_, 0);
  }

  Batch batch(std::size_t step, std::int64_t micro) const {
    const std::size_t number = step % different_steps * static_cast<std::size_t>(micro_batches_) +
                               static_cast<std::size_t>(micro);
    Batch batch;
    batch.tokens = tokens_.data() + number * per_batch_;
    batch.targets = batch.tokens + 1;
    batch.doc_start = document_starts_.data();
    batch.batch_size = batch_size_;
    batch.seq_len = length_;
    return batch;
  }

 private:
  std::int64_t batch_size_, length_, micro_batches_;
  std::size_t per_batch_;
  HostTokens tokens_, document_starts_;
};

// Batches of shards below `folder`, of all of them: (step, micro-batch) in ascending order only.
class ShardBatches {
 public:
  ShardBatches(const RunConfig& config, Device device, const std::string& folder) {
    LoaderOptions options;
    options.sources = {{"data", folder, 1}};
    options.batch_size = config.data.batch_size;
    options.seq_len = config.data.seq_len;
    options.seed = 1;
    options.vocab_size = config.model.vocab_size;
    // What is being copied to the device stays untouched: see run_steps().
    options.keep = static_cast<int>(2 * config.grad_acc_steps);
    if (device == Device::cuda) options.allocator = {allocate_pinned, free_pinned};
    loader_ = std::make_unique<TokenLoader>(options);
  }
  Batch next() { return loader_->next(); }

 private:
  std::unique_ptr<TokenLoader> loader_;
};

// Seconds of each of `count` steps.
std::vector<double> run_steps(const RunConfig& config, Runtime& runtime, TrainingModel& model,
                              BatchBuffers& buffers, const std::string& data, int count) {
  const Context& context = runtime.context();
  std::optional<RandomBatches> random;
  std::optional<ShardBatches> shards;
  if (data.empty())
    random.emplace(config, context.device);
  else
    shards.emplace(config, context.device, data);
  StreamMarker uploaded[2];  // the host runs two steps ahead at most, as in training
  const double gradient_scale = 1.0 / static_cast<double>(config.tokens_per_step());
  StepGraph graph;
  std::vector<double> seconds(static_cast<std::size_t>(count));
  std::vector<StreamMarker> done(static_cast<std::size_t>(count) + 1);
  done[0].record(context);
  for (std::size_t step = 0; step < seconds.size(); ++step) {
    const double begin = now_seconds();
    uploaded[step % 2].wait();
    for (std::int64_t micro = 0; micro < config.grad_acc_steps; ++micro) {
      buffers.upload(context, shards ? shards->next() : random->batch(step, micro), micro);
    }
    uploaded[step % 2].record(context);
    graph.run(context, config.cuda_graph, [&] {
      compute_step(context, model, buffers, config.grad_acc_steps, gradient_scale);
    });
    done[step + 1].record(context);
    seconds[step] = now_seconds() - begin;
  }
  runtime.synchronize();
  if (context.on_cuda()) {
    for (std::size_t step = 0; step < seconds.size(); ++step) {
      seconds[step] = done[step].seconds_until(done[step + 1]);
    }
  }
  return seconds;
}

void measure(StepResult& result, RunConfig config, Device device, const StepOptions& options) {
  const int steps = options.warm_up + options.steps;
  config.steps = std::max<std::int64_t>(config.steps, steps);
  const std::int64_t free_before = free_memory_bytes(device);
  const double begin = now_seconds();
  Runtime runtime(device);
  TrainingModel model(config, runtime);
  BatchBuffers buffers(device, config.grad_acc_steps, config.data.batch_size, config.data.seq_len,
                       config.model.document_mask, config.model.sliding_window.value_or(0));
  buffers.initialize(runtime.context());
  model.initialize();
  runtime.synchronize();
  result.seconds_to_start = now_seconds() - begin;
  result.tokens = config.tokens_per_step();
  result.flops_per_token = static_cast<double>(model.transformer().training_flops_per_token());
  result.device_bytes = model.memory_plan().device_bytes();
  result.host_bytes = model.memory_plan().host_bytes();

  const std::vector<double> seconds =
      run_steps(config, runtime, model, buffers, options.data, steps);
  result.seconds = median({seconds.begin() + options.warm_up, seconds.end()});
  copy_bytes(runtime.context(), &result.loss, buffers.loss().data(), sizeof(double));
  runtime.synchronize();
  if (device == Device::cuda) result.device_bytes_taken = free_before - free_memory_bytes(device);
  for (const BankUsage& usage : step_usage(runtime, model.transformer())) {
    result.picks += usage.picks;
    result.unique_rows += usage.unique_rows;
  }
}

}  // namespace

StepResult bench_step(const BenchCase& bench_case, Device device, const StepOptions& options) {
  StepResult result;
  result.bench_case = bench_case.name;
  try {
    measure(result, bench_case.config, device, options);
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::input) throw;
    result = {};
    result.bench_case = bench_case.name;
    result.failure = error.what();
  }
  return result;
}

}  // namespace memengine::bench
