// memengine train CONFIG [a.b.c=value ...]
#include <csignal>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/run/run_files.h"
#include "engine/training/trainer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

// Steps on the live line; all else stays.
class ProgressDisplay : public TrainingListener {
 public:
  void started(const RunConfig& config, const RunStart& start) override {
    line_.say(start_text(config, start));
  }
  void stepped(const StepReport& report) override { line_.show(step_line(report)); }
  void validated(const ValidationReport& report) override { line_.say(validation_line(report)); }
  void saved(const SaveReport& report) override { line_.say(save_line(report)); }
  void evaluated(std::int64_t step, const std::string& table) override {
    line_.say(format_text("evaluation at step {}\n{}", step, table));
  }
  void noticed(const std::string& message) override { line_.say("note: " + message); }

 private:
  LiveLine line_;
};

void train(const std::string& path, const std::vector<std::string>& overrides) {
  ProgressDisplay display;
  RunFiles files([&](const std::string& trouble) { display.noticed(trouble); });
  const RunConfig config = load_run_config(path, overrides);
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that went away is no reason to stop
  catch_stop_signals();           // before the model is built: a stop then waits for the first step
  Trainer trainer(config, {&files, &display});
  const std::int64_t begin = trainer.step();
  const std::int64_t step = trainer.run([] { return stop_requested(); });
  if (begin >= config.steps) {
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
      "Ctrl-C (or SIGTERM, SIGUSR1) finishes the step, saves and exits with code 130 (143, 138); a "
      "second one ends\nat once. The same command goes on. Code 3: training was stopped because of "
      "numbers that are not finite\n(guard.max_bad_steps).");
  auto path = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  command->add_option("config", *path, "YAML file")->required();
  command->add_option("overrides", *overrides, "a.b.c=value");
  command->callback([=] { train(*path, *overrides); });
}

}  // namespace memengine
