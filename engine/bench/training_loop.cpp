// The trainer's loop without reports and checkpoints.
#include "engine/bench/training_loop.h"

#include <algorithm>
#include <cstddef>

#include "engine/bench/timing.h"
#include "engine/training/training_step.h"
#include "io/shards/loader.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/runtime/philox.h"

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

// Batches of uniformly random tokens: a target is the next token, the document is the sequence.
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
    const auto stream = static_cast<std::uint64_t>(2 + config.ranks.rank);
    const std::size_t all =
        different_steps * static_cast<std::size_t>(micro_batches_) * per_batch_ + 1;
    for (std::size_t i = 0; i < all; ++i) {
      const std::uint64_t word = philox(1, stream, i).word[0];
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
    options.rank = config.ranks.rank;
    options.world = config.ranks.size;
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

}  // namespace

struct TrainingLoop::Source {
  std::optional<RandomBatches> random;
  std::optional<ShardBatches> shards;
};

TrainingLoop::TrainingLoop(const RunConfig& config, Device device, const std::string& data,
                           Communicator* ranks)
    : config_(config),
      runtime_(device, ranks),
      model_(config_, runtime_),
      buffers_(device, config_.grad_acc_steps, config_.data.batch_size, config_.data.seq_len,
               config_.model.document_mask, config_.model.sliding_window.value_or(0)),
      source_(std::make_unique<Source>()),
      bad_numbers_(config_.guard, device) {
  buffers_.initialize(runtime_.context());
  model_.initialize();
  runtime_.synchronize();
  if (data.empty()) {
    source_->random.emplace(config_, device);
  } else {
    source_->shards.emplace(config_, device, data);
  }
  bad_numbers_.start(runtime_, model_.optimizer().guard(), 0);
}

TrainingLoop::~TrainingLoop() = default;

std::vector<double> TrainingLoop::run_with(StepGraph& graph, int count, bool guarded) {
  const Context& context = runtime_.context();
  const GuardTensors& guard = model_.optimizer().guard();
  StreamMarker uploaded[2];  // the host runs two steps ahead at most, as in training
  const double gradient_scale = 1.0 / static_cast<double>(config_.tokens_per_step());
  std::vector<double> seconds(static_cast<std::size_t>(count));
  std::vector<StreamMarker> done(static_cast<std::size_t>(count) + 1);
  model_.watch(guarded ? buffers_.loss() : Tensor());
  runtime_.synchronize();
  bad_numbers_.start(runtime_, guard, step_);
  done[0].record(context);
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    const double begin = now_seconds();
    uploaded[i % 2].wait();
    if (guarded) bad_numbers_.look(context.on_cuda() ? step_ - 2 : step_);
    for (std::int64_t micro = 0; micro < config_.grad_acc_steps; ++micro) {
      buffers_.upload(context,
                      source_->shards
                          ? source_->shards->next()
                          : source_->random->batch(static_cast<std::size_t>(step_), micro),
                      micro);
    }
    uploaded[i % 2].record(context);
    graph.run(context, step_is_recorded(config_, model_), [&] {
      compute_step(context, model_, buffers_, config_.grad_acc_steps, gradient_scale);
    });
    ++step_;
    if (guarded) bad_numbers_.follow(context, guard, step_, 0);
    done[i + 1].record(context);
    seconds[i] = now_seconds() - begin;
  }
  runtime_.synchronize();
  if (context.on_cuda()) {
    for (std::size_t i = 0; i < seconds.size(); ++i) {
      seconds[i] = done[i].seconds_until(done[i + 1]);
    }
  }
  return seconds;
}

}  // namespace memengine::bench
