// memengine demo
//
// The main job on a corpus that the program makes: data, two trainings, questions, one table.
#include <fmt/core.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/terminal.h"
#include "engine/demo/demo.h"
#include "engine/run/run_files.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/printable.h"

namespace memengine {
namespace {

constexpr std::size_t shown_completions = 4;

class DemoDisplay : public DemoListener {
 public:
  void stage(const std::string& title) override {
    line_.say(fmt::format("[{}] {}", duration_text(seconds()), title));
  }
  void progress(const std::string& text) override {
    if (line_.terminal()) line_.show("  " + text);
  }
  void said(const std::string& text) override { line_.say("  " + text); }
  // A terminal sees every report; elsewhere ten lines per training are enough.
  void stepped(const StepReport& report) override {
    const std::int64_t tenth = report.steps * reported_ / 10;
    if (line_.terminal()) {
      std::vector<LineColumn> columns = step_columns(report);
      columns.front().text.insert(0, "  ");
      line_.show(columns);
    } else if (report.step >= tenth) {
      line_.say("  " + step_line(report));
    }
    while (report.steps * reported_ / 10 <= report.step && reported_ <= 10) ++reported_;
  }
  void started(const RunConfig& /*config*/, const RunStart& start) override {
    reported_ = 1;
    if (start.resumed_step >= 0) said(fmt::format("resumed at step {}", start.resumed_step));
  }
  void noticed(const std::string& message) override { said("note: " + printable(message)); }
  void clear() { line_.clear(); }

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  LiveLine line_;
  std::int64_t reported_ = 1;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// In a clone the configs lie below the working folder; an installed program has them beside itself.
std::filesystem::path where_it_lies(const std::filesystem::path& config) {
  std::error_code none;
  if (std::filesystem::exists(config, none)) return config;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", none);
  const auto installed = program.parent_path().parent_path() / "share/memengine" / config;
  return !none && std::filesystem::exists(installed, none) ? installed : config;
}

void demonstrate(const DemoOptions& options) {
  catch_stop_signals("stopping, to save; Ctrl-C once more ends at once");
  DemoResult result;
  DemoDisplay display;
  print(
      "{} synthetic people with six facts each, told {} times: how many facts does a model "
      "store?\n",
      grouped(options.people), options.passages);
  result = run_demo(options, display, stop_requested);
  display.clear();
  if (result.stopped) {
    display.said("stopped; the same command goes on where it stopped");
    throw Stopped{stop_signal()};
  }
  print("\na passage:\n  {}\n", result.corpus.example);
  print("\n{} trained on the same {} tokens ({} distinct), the same seed:\n\n", "two models",
        count_text(static_cast<double>(result.trained_tokens)),
        count_text(static_cast<double>(result.corpus.train_tokens)));
  print("{}\n{}\n", Lines{demo_table(result)}, Lines{demo_verdict(result)});
  print("some of the questions:\n{}", Lines{demo_completions(result, shown_completions)});
  print(
      "\nthe models are in {0}/dense and {0}/memory: memengine generate {0}/memory "
      "--prompt \"...\"\n{1} in all\n",
      options.out.string(), duration_text(display.seconds()));
  if (options.out == DemoOptions().out) {
    print("three seeds of each, with a report: memengine study configs/studies/demo.yaml\n");
  }
}

}  // namespace

void add_demo_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand(
      "demo", "Count the facts that a dense and a memory model of equal cost store");
  command->footer(
      "Writes synthetic biographies, trains both models on them for a few minutes of two cores,\n"
      "and asks both for every fact. Stopped with Ctrl-C, the same command goes on; after the end\n"
      "it starts again from nothing.\n\n"
      "  memengine demo\n"
      "  memengine demo --people 400 --steps 4000 --out runs/larger");
  auto options = std::make_shared<DemoOptions>();
  auto steps = std::make_shared<std::int64_t>(0);
  command->add_option("--config", options->config, "The memory model and its training")
      ->transform(home_path())
      ->capture_default_str();
  command->add_option("--out", options->out, "Folder for data and runs")
      ->transform(home_path())
      ->capture_default_str();
  command->add_option("--people", options->people, "How many")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--passages", options->passages, "Paraphrases of each")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--vocab", options->vocabulary, "Pieces of the tokenizer")
      ->check(at_least(1))
      ->capture_default_str();
  command->add_option("--steps", *steps, "Of each training (default: the config's)")
      ->check(at_least(1));
  command->add_option("overrides", options->overrides, "a.b.c=value, for both models");
  command->callback([=] {
    if (*steps > 0) options->overrides.push_back("steps=" + std::to_string(*steps));
    options->config = where_it_lies(options->config);
    demonstrate(*options);
  });
}

}  // namespace memengine
