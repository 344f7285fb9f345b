// memengine demo
//
// The main job on a corpus that the program makes: the first seed of a study, and one table.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/study/study_display.h"
#include "cli/study/study_report.h"
#include "engine/demo/demo.h"
#include "engine/run/run_files.h"
#include "io/files/file.h"
#include "io/files/output_folder.h"
#include "io/synthetic/biographies.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t shown_completions = 4;
constexpr const char* default_study = "configs/studies/demo.yaml";

struct DemoArguments {
  fs::path study, config, out;
  std::int64_t people = 0, steps = 0;
  int passages = 0, vocabulary = 0;
  std::vector<std::string> overrides;
};

// What earlier versions left in the folder: nothing of it is of use.
void remove_older_demo(const fs::path& out) {
  std::error_code none;
  const auto mark = read_folder_mark(out);
  const bool unmarked = !mark && fs::exists(out / "demo.state", none);
  if (!unmarked && !(mark && mark->kind == "demo")) return;
  const OutputFolder folder(out, "demo", [&] { return unmarked; });
  for (const char* part : {"data", "dense", "memory", "demo.state", ".memengine"}) {
    FileSystem::real().remove_all(out / part);
  }
}

// A demo that is finished starts again; one that was stopped goes on.
void settle_folder(const Study& study, StudyDisplay& display) {
  const auto done = [&](const StudyRun& run) { return study_run_is_done(study, run); };
  const auto begun = [&](const StudyRun& run) {
    std::error_code none;
    return fs::exists(study_run_folder(study, run), none);
  };
  if (std::all_of(study.runs.begin(), study.runs.end(), done)) {
    const OutputFolder folder(study.out, "study");
    for (const StudyRun& run : study.runs) {
      FileSystem::real().remove_all(study_result(study, run));
      FileSystem::real().remove_all(study_run_folder(study, run));
    }
  } else if (std::any_of(study.runs.begin(), study.runs.end(), begun)) {
    display.say("going on where the demo was stopped");
  }
}

std::int64_t variable(const Study& study, const std::string& name) {
  const auto found = study.variables.find(name);
  try {
    return found == study.variables.end() ? 0 : std::stoll(found->second);
  } catch (const std::exception&) {
    fail_input("the study's variable {} is '{}', not a number", name, found->second);
  }
}

void demonstrate(const DemoArguments& arguments) {
  const fs::path chosen = arguments.study.empty() ? default_study : arguments.study;
  StudyChanges changes;
  changes.out = arguments.out;
  changes.base = arguments.config;
  changes.first_seed_only = true;
  const auto set = [&](const char* key, std::int64_t value) {
    if (value > 0) changes.overrides.push_back(fmt::format("{}={}", key, value));
  };
  set("people", arguments.people);
  set("passages", arguments.passages);
  set("vocab", arguments.vocabulary);
  set("steps", arguments.steps);
  changes.overrides.insert(changes.overrides.end(), arguments.overrides.begin(),
                           arguments.overrides.end());
  const Study study = load_study(where_it_lies(chosen), changes);
  const std::int64_t people = variable(study, "people");
  const int passages = static_cast<int>(variable(study, "passages"));
  // Refuses what it cannot tell before anything is written.
  const BiographyCorpus corpus(42, people, passages);
  remove_older_demo(study.out);
  catch_stop_signals("stopping, to save; Ctrl-C once more ends at once");
  print(
      "{} synthetic people with six facts each, told {} times: how many facts does a model "
      "store?\n",
      grouped(people), passages);
  StudyDisplay display(study.runs.size());
  settle_folder(study, display);
  StudyOptions options;
  options.program = fs::read_symlink("/proc/self/exe");
  const StudyOutcome outcome = run_study(study, options, display, stop_requested);
  display.clear();
  if (outcome.stopped) {
    print("stopped; the same command goes on where it stopped\n");
    throw Stopped{stop_signal()};
  }
  if (outcome.failed > 0) fail_failed_runs(study, outcome);

  const DemoResult result = read_demo(study);
  print("\na passage:\n  {}\n", corpus.passage(corpus.person(0), 0, 0));
  print("\n{} and {} of facts, trained on in the same order with the same seed:\n\n",
        counted(result.models.front().asked, "question"),
        bytes_text(static_cast<std::int64_t>(BiographyCorpus::bits_per_person() *
                                             static_cast<double>(people) / 8)));
  print("{}\n{}\n", Lines{demo_table(result)}, Lines{demo_verdict(result)});
  print("some of the questions:\n{}", Lines{demo_completions(result, shown_completions)});
  const fs::path report = write_study_report(study, 0);
  print("\n{} in all; curves: {}\n", duration_text(display.seconds()), report.string());
  print("next\n  memengine generate {} --prompt \"...\"\n",
        study_run_folder(study, study.runs.back()).string());
  if (changes.overrides.empty() && changes.base.empty() && changes.out.empty()) {
    print("  memengine study {}   two more seeds of each\n", chosen.string());
  }
}

}  // namespace

void add_demo_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "demo", "Count the facts that a dense and a memory model of equal cost store");
  command->footer(
      "Writes synthetic biographies, trains the models on them for some minutes of two cores, and\n"
      "asks each for every fact: the first seed of a study (`memengine "
      "study`).\nStopped with Ctrl-C, the same command goes on; after the end it starts again "
      "from nothing.\n\n"
      "  memengine demo\n"
      "  memengine demo --people 400 --steps 4000 --out runs/larger\n"
      "  memengine demo --study configs/studies/demo_gpu.yaml    20,000 people, for a GPU");
  auto arguments = std::make_shared<DemoArguments>();
  command
      ->add_option("--study", arguments->study,
                   "The study, in place of configs/studies/demo.yaml; demo_gpu.yaml beside it is "
                   "larger, for a GPU")
      ->transform(home_path());
  command->add_option("--config", arguments->config, "The memory model, in place of the study's")
      ->transform(home_path());
  command->add_option("--out", arguments->out, "Folder for data and runs, in place of the study's")
      ->transform(home_path());
  command->add_option("--people", arguments->people, "How many, in place of the study's")
      ->check(at_least(1));
  command->add_option("--passages", arguments->passages, "Paraphrases of each, likewise")
      ->check(at_least(1));
  command->add_option("--vocab", arguments->vocabulary, "Pieces of the tokenizer, likewise")
      ->check(at_least(1));
  command->add_option("--steps", arguments->steps, "Of each training, likewise")
      ->check(at_least(1));
  command->add_option("overrides", arguments->overrides, "a.b.c=value, for both models");
  command->callback([=] { demonstrate(*arguments); });
}

}  // namespace memengine
