// memengine train CONFIG [a.b.c=value ...]
#include <csignal>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/ranks/launch.h"
#include "cli/ranks/run_as_rank.h"
#include "cli/terminal.h"
#include "cli/train_display.h"
#include "engine/launch/launch_ranks.h"
#include "engine/run/run_files.h"
#include "engine/run/run_summary.h"
#include "engine/training/trainer.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

enum class Form { people, json, quiet };

std::unique_ptr<TrainDisplay> display_of(Form form) {
  switch (form) {
    case Form::json:
      return json_display();
    case Form::quiet:
      return quiet_display();
    case Form::people:
      break;
  }
  return people_display();
}

void train_as_rank(const RunConfig& config, JoinedRanks& ranks, Form form) {
  // Before the model is built: a stop then waits for the first step. Until here there is nothing to
  // save, and a signal ends the process at once. One rank answers for all.
  catch_stop_signals(ranks.start.rank > 0
                         ? nullptr
                         : "stopping after this step, to save; Ctrl-C once more ends at once");
  const std::unique_ptr<TrainDisplay> shown = display_of(form);
  TrainDisplay& display = *shown;
  RunSummary summary;
  RunFiles files([&](const std::string& trouble) { display.noticed(trouble); });
  std::vector<TrainingListener*> listeners = {&files, &display, &summary};
  if (ranks.start.rank > 0) listeners.clear();
  Trainer trainer(config, listeners, FileSystem::real(), ranks.communicator.get());
  int signal = 0;
  if (ranks.several()) {
    trainer.set_stop_agreement([&](std::int64_t step, bool wanted) {
      const bool stops = ranks.watch->stop_now(step, wanted ? stop_signal() : 0);
      signal = ranks.watch->signal();
      return stops;
    });
  }
  const std::int64_t begin = trainer.step();
  const std::int64_t step = trainer.run([] { return stop_requested(); });
  if (!ranks.several()) signal = stop_signal();
  if (ranks.start.rank > 0) {
    if (step < config.steps) throw Stopped{signal};
    return;
  }
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
  if (step >= config.steps && !summary.text().empty()) display.summarised(summary.text());
  if (step < config.steps) throw Stopped{signal};
}

std::vector<std::string> words_of(const std::string& path,
                                  const std::vector<std::string>& overrides, Form form) {
  std::vector<std::string> words = {"train", path};
  if (form != Form::people) words.push_back(form == Form::json ? "--json" : "--quiet");
  words.insert(words.end(), overrides.begin(), overrides.end());
  return words;
}

// One process for each of several GPUs of this host. What is wrong with the config is said before.
void launch(const std::string& gpus, const std::string& path,
            const std::vector<std::string>& overrides, Form form) {
  const int ranks = gpus_asked(gpus);
  if (load_run_config(path, overrides, {0, ranks}).device == DeviceChoice::cpu) {
    fail_input("--gpus {}: the config says device=cpu: give --ranks {} instead", gpus, ranks);
  }
  launch_on_gpus(gpus, words_of(path, overrides, form));
}

// The same on this host's processor.
void launch(int ranks, const std::string& path, const std::vector<std::string>& overrides,
            Form form) {
  const DeviceChoice device = load_run_config(path, overrides, {0, ranks}).device;
  if (choose_device(device) == Device::cuda) {
    fail_input("--ranks {} is for ranks on the processor: add device=cpu, or give --gpus", ranks);
  }
  launch_on_cpu(ranks, words_of(path, overrides, form));
}

void train(const std::string& path, const std::vector<std::string>& overrides, Form form,
           const std::string& gpus, int ranks) {
  const RankStart start = rank_start();
  refuse_launch_by_rank(start, gpus, "--gpus");
  refuse_launch_by_rank(start, ranks > 0 ? "ranks" : "", "--ranks");
  std::signal(SIGPIPE, SIG_IGN);  // a reader of our output that went away is no reason to stop
  if (!gpus.empty()) return launch(gpus, path, overrides, form);
  if (ranks > 1) return launch(ranks, path, overrides, form);
  std::optional<RunConfig> config;
  said_by_first(start, [&] {
    config = load_run_config(path, overrides, {start.rank, start.size});
  });
  run_as_rank(start, config->device,
              [&](JoinedRanks& ranks) { train_as_rank(*config, ranks, form); });
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
      "training was stopped because of\nnumbers that are not finite (guard.max_bad_steps).\n\n"
      "Several GPUs: --gpus N on one host; torchrun, srun or mpirun start ranks on several hosts.\n"
      "Several CPU ranks: --ranks N on one host, mpirun or srun on several.");
  const auto arguments = add_config(*command);
  auto quiet = std::make_shared<bool>(false), json = std::make_shared<bool>(false);
  CLI::Option* without = command->add_flag("--quiet", *quiet, "Only notes, on stderr");
  command->add_flag("--json", *json, "For programs: one JSON object a line")->excludes(without);
  auto gpus = std::make_shared<std::string>();
  CLI::Option* on_gpus =
      command->add_option("--gpus", *gpus, "Train on so many GPUs of this host, or all");
  auto ranks = std::make_shared<int>(0);
  command->add_option("--ranks", *ranks, "Train as so many processes on this host's processor")
      ->check(at_least(1))
      ->excludes(on_gpus);
  command->callback([=] {
    const ConfigArguments given = settled(*arguments, "train");
    train(given.path, given.overrides,
          *json    ? Form::json
          : *quiet ? Form::quiet
                   : Form::people,
          *gpus, *ranks);
  });
}

}  // namespace memengine
