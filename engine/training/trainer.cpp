// One run, top to bottom: open, resume, step, report, validate, save. Its checkpoints are in
// trainer_checkpoints.cpp.
#include "engine/training/trainer.h"

#include <filesystem>

#include "engine/clock.h"
#include "engine/evaluation/evaluation.h"
#include "engine/training/training_step.h"
#include "engine/training/usage.h"
#include "engine/training/watch/attainable_speed.h"
#include "kernels/reduce.h"

namespace memengine {
namespace {

template <typename T>
T read_scalar(Runtime& runtime, const Tensor& scalar) {
  T value{};
  copy_bytes(runtime.context(), &value, scalar.data(), sizeof(T));
  runtime.synchronize();
  return value;
}

RunConfig of_ranks(RunConfig config, const Communicator* ranks) {
  if (ranks != nullptr) config.ranks = {ranks->rank(), ranks->size()};
  return config;
}

}  // namespace

Trainer::Trainer(const RunConfig& config, std::vector<TrainingListener*> listeners,
                 FileSystem& files, Communicator* ranks)
    : files_(files),
      config_(of_ranks(config, ranks)),
      listeners_(std::move(listeners)),
      data_(RunData::open(config_)),
      evaluation_(open_evaluation()),
      runtime_(choose_device(config_.device), ranks),
      attainable_flops_(
          measure_attainable_flops(runtime_, config_.distributed.model_dtype == ModelDtype::bf16,
                                   config_.distributed.matmul_allow_tf32)),
      model_(config_, runtime_),
      batches_(runtime_.context().device, config_.grad_acc_steps, config_.data.batch_size,
               config_.data.seq_len, config_.model.document_mask,
               config_.model.sliding_window.value_or(0)),
      bad_numbers_(config_.guard, runtime_.context().device),
      collapse_watch_(config_) {
  model_.watch(batches_.loss());
  if (config_.probe_freq) {
    probe_ = std::make_unique<Probe>(*config_.probe_freq, model_.transformer(),
                                     runtime_.context().device);
  }
  lock_checkpoints();
  batches_.initialize(runtime_.context());
  resume();
  check_disk();
  bad_numbers_.start(runtime_, model_.optimizer().guard(), step_);
  first_sequence_ = loader_->position().sequences;
  if (config_.validation.every > 0) {
    validation_ = data_.validation_reader(config_);
    if (validation_ == nullptr) {
      fail_input(
          "validation.every is {}, but the data has no held-out shards (val_*.bin): prepare "
          "them with --validation, or set validation.every=0",
          config_.validation.every);
    }
  }

  RunStart start;
  start.device = describe_device(runtime_.context().device);
  start.parameters = model_.transformer().parameters().parameter_count();
  start.frozen_parameters = start.parameters - model_.transformer().parameters().trained_count();
  for (const MemoryBank& bank : model_.transformer().banks()) {
    for (const ValueTable& table : bank.tables()) {
      start.value_parameters += table.table_rows() * table.rows().v_dim();
      start.tables.push_back(table.name());
    }
  }
  start.flops_per_token = model_.transformer().training_flops_per_token();
  start.training_tokens = loader_->total_tokens();
  start.resumed_step = step_ > 0 ? step_ : -1;
  start.plan = model_.memory_plan();
  tell([&](TrainingListener& listener) { listener.started(config_, start); });
  for (const std::string& message : config_.notices) notice(message);
  if (!runtime_.context().on_cuda() && config_.distributed.model_dtype == ModelDtype::bf16) {
    notice(
        "distributed.model_dtype is bf16, but the CPU computes in FP32: speed and losses are those "
        "of model_dtype=fp32");
  }
  for (const std::string& message : evaluation_.notices) notice(message);
  if (!model_.gather_notice().empty()) {
    tell([&](TrainingListener& listener) { listener.noticed(model_.gather_notice()); });
  }
  const bool host_table = !model_.memory_plan().host.empty();
  if (host_table && !runtime_.context().on_cuda()) {
    tell([](TrainingListener& listener) {
      listener.noticed("zero_copy: there is no GPU here; the value table is in ordinary memory");
    });
  }
}

Trainer::~Trainer() = default;

// --- The step ------------------------------------------------------------------------------------

void Trainer::train_step() {
  const Context& context = runtime_.context();
  const std::int64_t micro_batches = config_.grad_acc_steps;
  const double gradient_scale = 1.0 / static_cast<double>(config_.tokens_per_step());

  // The host runs ahead of the device, but by two steps at most: the loader gives buffers that the
  // device may still be copying from to nobody for so long.
  StreamMarker& uploaded = uploaded_[static_cast<std::size_t>(step_ % 2)];
  uploaded.wait();
  // After that upload the device has done all but the last two updates.
  watch_numbers(context.on_cuda() ? step_ - 2 : step_);
  for (std::int64_t micro = 0; micro < micro_batches; ++micro) {
    const Batch batch = loader_->next();
    data_seconds_ += batch.wait_seconds;
    batches_.upload(context, batch, micro);
  }
  uploaded.record(context);
  const bool probed = probe_ != nullptr && probe_->due(step_ + 1);
  // By now the last probe but this one is there, without waiting.
  if (probe_ != nullptr && (probed || probe_->pending() + 2 <= step_)) tell_probe();
  if (probed) {
    // The graph is the record of a step without a probe; this one is launched op by op.
    compute_step(context, model_, batches_, micro_batches, gradient_scale, probe_.get());
  } else {
    step_graph_.run(context, step_is_recorded(config_, model_), [&] {
      compute_step(context, model_, batches_, micro_batches, gradient_scale);
    });
  }
  ++step_;
  if (probed) probe_->fetch(context, step_);
  bad_numbers_.follow(context, model_.optimizer().guard(), step_, first_sequence_);
  first_sequence_ += config_.ranks.size * config_.data.batch_size * micro_batches;
  ++steps_since_;
  total_tokens_ += config_.tokens_per_step();
}

void Trainer::watch_numbers(std::int64_t step) {
  for (const std::string& news : bad_numbers_.look(step)) {
    tell([&](TrainingListener& listener) { listener.noticed(news); });
  }
  if (!bad_numbers_.must_stop()) return;
  runtime_.synchronize();
  const GuardState& state = bad_numbers_.state();
  const std::string message = fmt::format(
      "stopped at step {}: {} updates in a row were skipped because of numbers that are not finite "
      "({}), from update {} on, whose batch begins at sequence {} of the data; the first tensor "
      "that "
      "is not finite is {}; {}; lower optim.lr or optim.clip, or raise guard.max_bad_steps",
      step_, state.bad_in_a_row, figures_text(state), state.first_bad_step,
      bad_numbers_.first_bad_sequence(), first_bad_tensor(runtime_, model_.transformer()),
      saved_step_ >= 0 ? fmt::format("the checkpoint of step {} is as it was", saved_step_)
                       : "nothing was saved yet");
  tell([&](TrainingListener& listener) { listener.failed(message); });
  throw DivergedError(message);
}

bool Trainer::stops(const std::function<bool()>& stop) {
  const bool wanted = stop();
  if (ranks().size() == 1) return wanted;
  if (stop_agreement_) return stop_agreement_(step_, wanted);
  return ranks().largest(wanted ? 1 : 0) != 0;
}

std::int64_t Trainer::run(const std::function<bool()>& stop) {
  clock_ = now_seconds();
  bool stopped = stops(stop);
  if (step_ >= config_.steps && !stopped && evaluation_.config && saved_step_ == step_ &&
      ranks().gather<int>(was_evaluated(step_) ? 1 : 0).front() == 0) {
    evaluate();
  }
  while (step_ < config_.steps && !stopped) {
    train_step();
    stopped = stops(stop);
    const bool last = step_ == config_.steps || stopped;
    const auto due = [&](std::int64_t every) { return every > 0 && step_ % every == 0; };
    // The first step is always reported, so that a run which goes wrong shows it at once.
    if (due(config_.logging.freq) || last || step_ == 1) {
      report();
    } else {
      show_progress();
    }
    if (last) watch_numbers(step_);
    if (collapse_watch_.due(step_)) {
      for (const std::string& news :
           collapse_watch_.look(runtime_, model_.transformer(), batches_.batch(0).tokens, step_)) {
        notice(news);
      }
    }
    if (last) tell_probe();
    if (validation_ != nullptr && (due(config_.validation.every) || step_ == config_.steps)) {
      const ValidationReport validation = validate();
      tell([&](TrainingListener& listener) { listener.validated(validation); });
      clock_ += validation.seconds;
    }
    const bool evaluation_due =
        evaluation_.config && (due(config_.checkpoint.eval.every) || step_ == config_.steps);
    const bool saves = config_.checkpoint.dump.every > 0;
    if (due(config_.checkpoint.dump.every) || evaluation_due || (last && saves)) {
      save(last, stopped ? [] { return false; } : stop);
    }
    if (evaluation_due && saved_step_ == step_) evaluate();
  }
  return step_;
}

void Trainer::tell_probe() {
  if (probe_ == nullptr) return;
  if (const std::optional<ProbeReport> report = probe_->take()) {
    tell([&](TrainingListener& listener) { listener.probed(*report); });
  }
}

// --- Reports -------------------------------------------------------------------------------------

void Trainer::report() {
  StepReport report;
  const Optimizer& optimizer = model_.optimizer();
  report.step = step_;
  report.steps = config_.steps;
  report.loss = read_scalar<double>(runtime_, batches_.loss());
  report.dense_gradient_norm = read_scalar<double>(runtime_, optimizer.dense_norm());
  if (!model_.transformer().banks().empty()) {
    report.value_gradient_norm = read_scalar<double>(runtime_, optimizer.value_norm());
  }
  report.learning_rate = optimizer.entry(step_).learning_rate;
  report.value_learning_rate = optimizer.entry(step_).value_learning_rate;
  report.total_tokens = total_tokens_;
  report.banks = step_usage(runtime_, model_.transformer());
  report.banks_step = step_;
  watch_numbers(step_);  // everything above has waited for the device
  report.skipped_updates = bad_numbers_.state().bad_updates + bad_numbers_.state().skipped_spikes;
  report.spikes = bad_numbers_.state().spikes;

  const double now = now_seconds();
  const double steps = static_cast<double>(std::max<std::int64_t>(steps_since_, 1));
  report.seconds_per_step = (now - clock_) / steps;
  report.data_seconds_per_step = data_seconds_ / steps;
  report.tokens_per_second =
      static_cast<double>(config_.tokens_per_step()) / report.seconds_per_step;
  report.flops_per_second = report.tokens_per_second *
                            static_cast<double>(model_.transformer().training_flops_per_token());
  // A device that other work shared while it was measured can do at least what the run attains.
  attainable_flops_ = std::max(attainable_flops_, report.flops_per_second / config_.ranks.size);
  report.attainable_share = report.flops_per_second / (config_.ranks.size * attainable_flops_);
  // The first report is of steps that also set things up.
  seconds_per_step_ = reports_++ < 2 ? report.seconds_per_step
                                     : 0.8 * seconds_per_step_ + 0.2 * report.seconds_per_step;
  report.seconds_left = seconds_per_step_ * static_cast<double>(config_.steps - step_);
  clock_ = now;
  steps_since_ = 0;
  data_seconds_ = 0;
  tell([&](TrainingListener& listener) { listener.stepped(report); });
}

void Trainer::show_progress() {
  constexpr double seconds_between = 0.25;
  const double now = now_seconds();
  if (now - progress_shown_ < seconds_between) return;
  progress_shown_ = now;
  // A GPU's last two updates may be under way; and ranks stop at one place, whatever the time.
  if (!runtime_.context().on_cuda() && config_.ranks.size == 1) watch_numbers(step_);
  const GuardState& state = bad_numbers_.state();
  if (state.step < 1) return;
  StepProgress progress;
  progress.step = state.step;
  progress.loss = state.figures[0];
  progress.dense_gradient_norm = state.figures[1];
  progress.value_gradient_norm = state.figures[2];
  progress.learning_rate = model_.optimizer().entry(state.step).learning_rate;
  const double seconds = (now - clock_) / static_cast<double>(steps_since_);
  progress.tokens_per_second = static_cast<double>(config_.tokens_per_step()) / seconds;
  progress.seconds_per_step = seconds;
  progress.data_seconds_per_step = data_seconds_ / static_cast<double>(steps_since_);
  progress.seconds_left =
      (reports_ < 2 ? seconds : seconds_per_step_) * static_cast<double>(config_.steps - step_);
  tell([&](TrainingListener& listener) { listener.progressed(progress); });
}

ValidationReport Trainer::validate() {
  if (validation_ == nullptr)
    fail_input("validation.every is 0: there is no held-out data to read");
  const double begin = now_seconds();
  const Context& context = runtime_.context();
  Transformer& transformer = model_.transformer();
  ValidationReport report;
  report.step = step_;
  UsageCounter usage(runtime_, transformer);
  double total = 0;
  validation_->rewind();
  Batch batch;
  // Ranks take batches in turn. All of them look up together, so one that has no batch left reads
  // along with what it has, which does not count.
  const std::int64_t all = validation_->batches();
  const std::int64_t wanted =
      config_.validation.batches > 0 ? std::min(all, config_.validation.batches) : all;
  for (std::int64_t first = 0; first < wanted; first += config_.ranks.size) {
    const bool counts = first + config_.ranks.rank < wanted && validation_->next(batch);
    if (counts) batches_.upload(context, batch, 0);
    batches_.derive(context, 0);
    const TokenBatch uploaded = batches_.batch(0);
    const std::int64_t tokens = uploaded.tokens.size();
    const Tensor log_probabilities = batches_.log_probabilities().rows(0, tokens);
    transformer.score(context, uploaded, log_probabilities, batches_.best().rows(0, tokens));
    if (!counts) continue;
    sum(context, batches_.loss(), log_probabilities, -1.0);
    total += read_scalar<double>(runtime_, batches_.loss());
    report.tokens += tokens;
    usage.count(tokens);
  }
  Communicator& ranks = *context.communicator;
  total = ranks.sum(total);
  report.tokens = ranks.sum(report.tokens);
  report.loss = total / static_cast<double>(std::max<std::int64_t>(report.tokens, 1));
  report.banks = usage.result();
  report.seconds = now_seconds() - begin;
  return report;
}

}  // namespace memengine
