// The training loop.
//
// A step: zero the gradients; for each micro-batch forward and backward; merge the row gradients;
// one update. Between steps the loop reports, validates, saves and looks whether it should stop.
// Figures are read back from the device only when they are reported.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/model_files/model_source.h"
#include "engine/run/run_data.h"
#include "engine/run/settle_evaluation.h"
#include "engine/training/bad_numbers.h"
#include "engine/training/batch_buffers.h"
#include "engine/training/training_listener.h"
#include "engine/training/training_model.h"
#include "engine/training/watch/collapse_watch.h"
#include "engine/training/watch/probe.h"
#include "io/checkpoints/checkpoint.h"
#include "io/files/output_folder.h"
#include "kernels/runtime/runtime.h"
#include "kernels/runtime/step_graph.h"

namespace memengine {

class Trainer {
 public:
  // Opens data and model, and resumes from the newest whole checkpoint when there is
  // one. Listeners outlive the trainer. Checkpoints are written through `files`. `ranks` joins the
  // processes of the run, which all call the same, and outlives the trainer; null: this is all.
  // What listeners are told of a step is of all ranks.
  Trainer(const RunConfig& config, std::vector<TrainingListener*> listeners,
          FileSystem& files = FileSystem::real(), Communicator* ranks = nullptr);
  ~Trainer();

  // Trains until config.steps or until `stop` says so, which is asked before the first step and
  // after every one; saves at the configured intervals and at the end, or not at all when
  // checkpoint.dump.every is 0 (but for evaluations). Returns the number of updates done. A run
  // that was finished without its last evaluation is evaluated now. Throws DivergedError after
  // guard.max_bad_steps updates in a row that had to be skipped, and what keeps the last state from
  // being saved after checkpoint.retry_minutes, or once `stop` says so meanwhile.
  std::int64_t run(const std::function<bool()>& stop);

  // With several ranks: called before each step with the number of updates done and whether this
  // rank wants to stop; says, after the same step on all ranks, that they do. Without it they ask
  // one another after each step.
  using StopAgreement = std::function<bool(std::int64_t step, bool wanted)>;
  void set_stop_agreement(StopAgreement agreement) { stop_agreement_ = std::move(agreement); }

  // Mean loss over held-out data with running statistics; nothing is trained. Only when
  // validation.every is above 0, which opens the held-out data.
  ValidationReport validate();

  const RunConfig& config() const { return config_; }
  std::int64_t step() const { return step_; }

 private:
  // One run at a time in dump_dir and in the folder of its checkpoints.
  void lock_checkpoints();
  void lock_folders();
  void resume();
  void resume_from(const Checkpoint& checkpoint);
  void initialise_weights();
  // Says so where the given model's tokens are other words.
  void compare_tokenizers(const ModelSource& source);
  Communicator& ranks() { return *runtime_.context().communicator; }
  bool is_first() { return ranks().rank() == 0; }
  bool stops(const std::function<bool()>& stop);
  // Whether the checkpoints to come have room: input error when not even one has, else a notice.
  void check_disk();
  HostAllocator host_allocator();
  void train_step();
  // Looks at the guard of all updates up to `step`, tells what is news, and stops when it must.
  void watch_numbers(std::int64_t step);
  void report();
  // What is known without waiting, as often as people like to look.
  void show_progress();
  // Tells about the probe that is on its way, waiting for it if need be.
  void tell_probe();
  void save(bool last, const std::function<bool()>& give_up);
  void write_checkpoint(bool last);
  // Finds out what of config.eval can be done here; input error where its sets cannot serve, unless
  // all that is to be evaluated was before.
  SettledEvaluation open_evaluation() const;
  bool was_evaluated(std::int64_t step) const;
  // Runs it on the newest checkpoint.
  void evaluate();
  template <typename Tell>
  void tell(Tell&& tell) {
    for (TrainingListener* listener : listeners_) tell(*listener);
  }
  void notice(const std::string& message) {
    tell([&](TrainingListener& listener) { listener.noticed(message); });
  }

  FileSystem& files_;
  RunConfig config_;
  std::vector<TrainingListener*> listeners_;
  RunData data_;
  SettledEvaluation evaluation_;
  Runtime runtime_;
  double attainable_flops_ = 0;  // per second; measured before the model takes its memory
  TrainingModel model_;
  BatchBuffers batches_;
  std::unique_ptr<OutputFolder> folder_, checkpoint_folder_;
  std::string owner_;  // this run's identity, in its checkpoints
  std::unique_ptr<TokenLoader> loader_;
  std::unique_ptr<ValidationReader> validation_;
  StopAgreement stop_agreement_;
  StepGraph step_graph_;
  StreamMarker uploaded_[2];
  BadNumbers bad_numbers_;
  CollapseWatch collapse_watch_;
  std::unique_ptr<Probe> probe_;
  std::int64_t first_sequence_ = 0;  // of the next batch, in the data's stream

  std::int64_t step_ = 0;
  std::int64_t saved_step_ = -1;
  std::optional<CheckpointBase> base_;  // the full checkpoint that increments add to
  std::set<std::int64_t> damaged_;      // checkpoints that were passed over
  std::int64_t total_tokens_ = 0;
  // Since the last report.
  std::int64_t steps_since_ = 0;
  double data_seconds_ = 0;
  double clock_ = 0;
  double seconds_per_step_ = 0;  // smoothed, for the time left
  int reports_ = 0;
  double progress_shown_ = 0;
};

}  // namespace memengine
