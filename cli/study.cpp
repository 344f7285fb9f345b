// memengine study STUDY.yaml
#include <filesystem>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/report/comparison.h"
#include "engine/report/run_report.h"
#include "engine/study/study.h"
#include "io/files/file.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

class StudyDisplay : public StudyListener {
 public:
  explicit StudyDisplay(std::size_t total) : total_(total) {}

  void skipped(const StudyRun& /*run*/) override { ++skipped_; }
  void started(const StudyRun& run, const std::string& gpu) override {
    if (skipped_ > 0) {
      line_.say(fmt::format("{} of {} runs are done already", std::exchange(skipped_, 0), total_));
    }
    line_.say(gpu.empty() ? fmt::format("{} ...", run.name)
                          : fmt::format("{} on GPU {} ...", run.name, gpu));
  }
  void finished(const StudyRun& run, double seconds) override {
    line_.say(fmt::format("{} done in {}", run.name, duration_text(seconds)));
  }
  void failed(const StudyRun& run, int code, const std::string& message) override {
    line_.say(fmt::format("{} FAILED with code {}: {}", run.name, code, printable(message)));
  }
  void waiting(std::size_t done, std::size_t running) override {
    if (!line_.terminal() || running == 0) return;
    line_.show(fmt::format("{} of {} runs done, {} under way", done, total_, running));
  }
  void clear() { line_.clear(); }

 private:
  LiveLine line_;
  std::size_t total_, skipped_ = 0;
};

void study(const fs::path& path, const fs::path& out, const StudyOptions& options, double target) {
  const Study study = load_study(path, out);
  catch_stop_signals("stopping: the runs under way save first");
  StudyDisplay display(study.runs.size());
  const StudyOutcome outcome = run_study(study, options, display, stop_requested);
  display.clear();
  const std::vector<fs::path> results = study_results(study);
  if (!results.empty()) {
    std::vector<RunRecord> records;
    for (const fs::path& folder : results) {
      records.push_back(read_run(folder, {drawn_points(results.size()), target}));
    }
    const fs::path report = study.out / "report.html";
    const Comparison comparison = compare_runs(records, target);
    write_file_atomically(FileSystem::real(), report, report_html(comparison));
    print("{} of {} runs are done: {}\n", outcome.done, study.runs.size(), report.string());
    print("next\n  memengine compare {}\n", (study.out / "results").string());
  }
  if (outcome.stopped) {
    print("stopped; the same command goes on\n");
    throw Stopped{stop_signal()};
  }
  if (outcome.failed > 0) {
    fail_internal("{} of {} runs failed; {} has what each said; the same command tries them again",
                  outcome.failed, study.runs.size(), (study.out / "logs").string());
  }
}

}  // namespace

void add_study_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "study",
      "Train a config over a grid or list of overrides and seeds; goes on where it stopped");
  command->footer(
      "  base: configs/laptop.yaml\n"
      "  out: runs/lr_study\n"
      "  set: {steps: 400}\n"
      "  runs:\n"
      "    - {name: dense, set: {model.productkey_args.is_enabled: false}}\n"
      "    - {name: memory}\n"
      "  grid:\n"
      "    optim.lr: [1e-3, 2e-3]\n"
      "  seeds: [1, 2, 3]\n\n"
      "Each run is a process of its own, in out/runs. What is done is in out/results, small "
      "files;\n"
      "out/report.html is written at the end. Stopped or killed, the same command goes on.");
  auto path = std::make_shared<fs::path>(), out = std::make_shared<fs::path>();
  auto options = std::make_shared<StudyOptions>();
  auto target = std::make_shared<double>(0);
  command->add_option("study", *path, "The study's YAML file")->required()->transform(home_path());
  command->add_option("--out", *out, "Folder, in place of the file's")->transform(home_path());
  command
      ->add_option("--gpus", options->gpus,
                   "One run on each at a time, for instance 0,1,2,3 (default: one after the other)")
      ->delimiter(',');
  command->add_option("--to", *target, "The report also says what it took to reach this loss")
      ->check(CLI::PositiveNumber);
  command->callback([=] {
    options->program = fs::read_symlink("/proc/self/exe");
    study(*path, *out, *options, *target);
  });
}

}  // namespace memengine
