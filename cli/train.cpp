// memengine train CONFIG [a.b.c=value ...]
#include <csignal>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/clock.h"
#include "engine/run/run_files.h"
#include "engine/training/trainer.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

// The newest step is the live line; its line stays where something is said about that step, and at
// the end. Where there is no terminal every report is a line, and a long time between two of them
// is broken by lines of what is known meanwhile.
class ProgressDisplay : public TrainingListener {
 public:
  void started(const RunConfig& config, const RunStart& start) override {
    line_.say(start_text(config, start));
    last_.steps = config.steps;
    said_ = now_seconds();
  }
  void stepped(const StepReport& report) override {
    last_ = report;
    show();
  }
  void progressed(const StepProgress& progress) override {
    constexpr double patience = 30;
    if (!line_.terminal() && now_seconds() - said_ < patience) return;
    last_.step = progress.step;
    last_.loss = progress.loss;
    last_.dense_gradient_norm = progress.dense_gradient_norm;
    last_.value_gradient_norm = progress.value_gradient_norm;
    last_.learning_rate = progress.learning_rate;
    last_.tokens_per_second = progress.tokens_per_second;
    last_.seconds_per_step = progress.seconds_per_step;
    last_.data_seconds_per_step = progress.data_seconds_per_step;
    last_.seconds_left = progress.seconds_left;
    show();
  }
  void validated(const ValidationReport& report) override { say(validation_line(report)); }
  void saved(const SaveReport& report) override { say(save_line(report)); }
  void evaluated(std::int64_t step, const std::string& table) override {
    say(format_text("evaluation at step {}\n{}", step, table));
    evaluated_ = true;
  }
  bool has_evaluated() const { return evaluated_; }
  void noticed(const std::string& message) override {
    line_.say_above("note: " + printable(message));
  }

 private:
  void show() {
    line_.show(step_columns(last_));
    said_ = now_seconds();
  }
  void say(const std::string& text) {
    line_.keep();
    line_.say(text);
  }

  LiveLine line_;
  StepReport last_;
  double said_ = 0;
  bool evaluated_ = false;
};

void train(const std::string& path, const std::vector<std::string>& overrides) {
  ProgressDisplay display;
  RunFiles files([&](const std::string& trouble) { display.noticed(trouble); });
  const RunConfig config = load_run_config(path, overrides);
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that went away is no reason to stop
  // Before the model is built: a stop then waits for the first step.
  catch_stop_signals("stopping after this step, to save; Ctrl-C once more ends at once");
  Trainer trainer(config, {&files, &display});
  const std::int64_t begin = trainer.step();
  const std::int64_t step = trainer.run([] { return stop_requested(); });
  if (begin >= config.steps && display.has_evaluated()) {
    display.noticed(format_text("the run was at step {} of steps={}: only its evaluation was left",
                                begin, config.steps));
  } else if (begin >= config.steps) {
    display.noticed(
        format_text("nothing to do: the run is at step {} of steps={}", begin, config.steps));
  } else if (config.checkpoint.dump.every <= 0) {
    display.noticed("nothing was saved: checkpoint.dump.every is 0");
  } else if (step < config.steps) {
    display.noticed(format_text("stopped at step {}; the same command goes on from there", step));
  }
  if (step < config.steps) throw Stopped{stop_signal()};
}

}  // namespace

void add_train_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("train", "Train a model; resumes where it stopped");
  command->footer(
      "Any key of the config can be overridden:\n"
      "  memengine train configs/zero_copy.yaml steps=100 model.productkey_args.mem_n_keys=1024\n\n"
      "Ctrl-C (or SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGXCPU) finishes the step, saves and exits "
      "with "
      "code 130 (128 +\nthe signal); a second Ctrl-C ends at once. The same command goes on. Code "
      "3: "
      "training was stopped because of\nnumbers that are not finite (guard.max_bad_steps).");
  const auto arguments = add_config(*command);
  command->callback([=] {
    const ConfigArguments given = settled(*arguments, "train");
    train(given.path, given.overrides);
  });
}

}  // namespace memengine
