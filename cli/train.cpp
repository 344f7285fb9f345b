// memengine train CONFIG [a.b.c=value ...]
#include <fmt/core.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "cli/command.h"
#include "engine/run_files.h"
#include "engine/trainer.h"

namespace memengine {
namespace {

// How often a signal asked for the end of training. The first lets the step finish and the state be
// saved; the second ends the process at once, as if nothing had been installed.
volatile std::sig_atomic_t signals_seen = 0;

extern "C" void on_signal(int signal) {
  signals_seen = signals_seen + 1;
  if (signals_seen > 1) {
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
}

// On a terminal one live line that is written over; elsewhere a plain line a report.
class ProgressDisplay : public TrainingListener {
 public:
  void started(const RunConfig& config, const RunStart& start) override {
    say(start_text(config, start), "");
  }
  void stepped(const StepReport& report) override {
    if (!terminal_) {
      say(step_line(report));
      return;
    }
    winsize size{};
    std::string line = step_line(report);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 &&
        line.size() > size.ws_col) {
      line.resize(size.ws_col);
    }
    fmt::print("\r\x1b[K{}", line);
    std::fflush(stdout);
    live_ = true;
  }
  void validated(const ValidationReport& report) override { say(validation_line(report)); }
  void saved(std::int64_t step, const std::string& path, double seconds) override {
    say(fmt::format("saved step {} to {} ({:.1f} s)", step, path, seconds));
  }
  void evaluated(std::int64_t step, const std::string& table) override {
    say(fmt::format("evaluation at step {}\n{}", step, table), "");
  }
  void noticed(const std::string& message) override { say("note: " + message); }
  ~ProgressDisplay() override {
    if (live_) fmt::print("\n");
  }

 private:
  void say(const std::string& text, const char* end = "\n") {
    if (live_) fmt::print("\n");
    live_ = false;
    fmt::print("{}{}", text, end);
    std::fflush(stdout);
  }

  bool terminal_ = isatty(STDOUT_FILENO) != 0;
  bool live_ = false;
};

void train(const std::string& path, const std::vector<std::string>& overrides) {
  RunFiles files;
  ProgressDisplay display;
  Trainer trainer(load_run_config(path, overrides), {&files, &display});
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) std::signal(signal, on_signal);
  const std::int64_t step = trainer.run([] { return signals_seen > 0; });
  if (step < trainer.config().steps) {
    display.noticed(fmt::format("stopped at step {}; the same command goes on from there", step));
  }
}

}  // namespace

void add_train_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("train", "Train a model; resumes where it stopped");
  command->footer(
      "Keys of the config can be overridden: memengine train configs/zero_copy.yaml "
      "steps=100 model.productkey_args.mem_n_keys=1024");
  auto path = std::make_shared<std::string>();
  auto overrides = std::make_shared<std::vector<std::string>>();
  command->add_option("config", *path, "YAML file")->required();
  command->add_option("overrides", *overrides, "a.b.c=value");
  command->callback([=] { train(*path, *overrides); });
}

}  // namespace memengine
