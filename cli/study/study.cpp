// memengine study STUDY.yaml [key=value ...]
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/study/study_display.h"
#include "cli/study/study_report.h"
#include "cli/terminal.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

struct StudyArguments {
  fs::path path;
  StudyChanges changes;
  StudyOptions options;
  double target = 0;
  bool list = false;
  std::vector<std::string> only;
};

// The runs whose names begin with one of these words.
Study selected(Study study, const std::vector<std::string>& only) {
  if (only.empty()) return study;
  std::erase_if(study.runs, [&](const StudyRun& run) {
    return std::none_of(only.begin(), only.end(),
                        [&](const std::string& begin) { return run.name.starts_with(begin); });
  });
  if (study.runs.empty()) fail_input("--only: no run begins with {}", fmt::join(only, " or "));
  return study;
}

void list_study(const Study& study) {
  for (const auto& words : study.prepare) {
    print("memengine {}\n", fmt::format("{}", fmt::join(words, " ")));
  }
  for (const StudyRun& run : study.runs) {
    print("{}{}\n", run.name, study_run_is_done(study, run) ? "   done" : "");
  }
  print("{} in {}\n", counted(static_cast<std::int64_t>(study.runs.size()), "run"),
        study.out.string());
}

void run(const StudyArguments& arguments) {
  const Study all = load_study(where_it_lies(arguments.path), arguments.changes);
  const Study study = selected(all, arguments.only);
  if (arguments.list) return list_study(study);
  catch_stop_signals("stopping: the runs under way save first");
  StudyDisplay display(study.runs.size());
  const StudyOutcome outcome = run_study(study, arguments.options, display, stop_requested);
  display.clear();
  const fs::path report = write_study_report(all, arguments.target);
  if (!report.empty()) {
    print("{} of {} runs are done: {}\n", outcome.done, study.runs.size(), report.string());
    print("next\n  memengine compare {}\n", (study.out / "results").string());
  }
  if (outcome.stopped) {
    print("stopped; the same command goes on\n");
    throw Stopped{stop_signal()};
  }
  if (outcome.failed > 0) fail_failed_runs(study, outcome);
}

}  // namespace

void add_study_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "study",
      "Train a config over a grid or list of overrides and seeds; goes on where it stopped");
  command->footer(
      "  base: ../laptop.yaml               beside the study's file, or as typed\n"
      "  out: runs/lr_study\n"
      "  variables: {people: 1000}          ${people} below; people=50 on the command line\n"
      "  prepare:                           commands that make the data, once\n"
      "    - synth --people ${people} --out ${out}/text\n"
      "  set: {steps: 400}                  overrides of all runs\n"
      "  runs:\n"
      "    - {name: dense, set: {model.productkey_args.is_enabled: false}}\n"
      "    - {name: memory}\n"
      "  grid:\n"
      "    optim.lr: [1e-3, 2e-3]\n"
      "  seeds: [1, 2, 3]\n"
      "  small: {variables: {people: 50}}   what --small has in place of the above\n\n"
      "Each run is a process of its own, in out/runs. What is done is in out/results, small "
      "files;\n"
      "out/report.html is written at the end. Stopped or killed, the same command goes on.\n"
      "configs/studies/ has some.");
  auto arguments = std::make_shared<StudyArguments>();
  command->add_option("study", arguments->path, "The study's YAML file")
      ->required()
      ->transform(home_path());
  command->add_option("overrides", arguments->changes.overrides,
                      "A variable of the study, or a.b.c=value for every run");
  command->add_option("--out", arguments->changes.out, "Folder, in place of the file's")
      ->transform(home_path());
  command->add_flag("--small", arguments->changes.small, "The study's small form");
  command
      ->add_option("--seeds", arguments->changes.seeds, "In place of the study's, for instance 1,2")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(at_least(0));
  command
      ->add_option("--only", arguments->only,
                   "Only runs whose names begin so, for instance dense,memory-lr=2e-3; the report "
                   "has all that are done")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--list", arguments->list, "Only say what it would prepare and run");
  command
      ->add_option("--gpus", arguments->options.gpus,
                   "One run on each at a time, for instance 0,1,2,3 (default: one after the other)")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      ->add_option("--to", arguments->target,
                   "The report also says what it took to reach this loss")
      ->check(above_zero());
  command->callback([=] {
    arguments->options.program = fs::read_symlink("/proc/self/exe");
    run(*arguments);
  });
}

}  // namespace memengine
