// memengine eval CONFIG [a.b.c=value ...]
#include <fmt/core.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/arguments/arguments.h"
#include "cli/command.h"
#include "cli/ranks/run_as_rank.h"
#include "cli/terminal.h"
#include "engine/evaluation/evaluation.h"
#include "engine/run/run_files.h"
#include "engine/run/settle_evaluation.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

// "hellaswag  [#######.......]  1600/3200  211/s  left 8s", renewed a few times per second.
class EvalDisplay {
 public:
  void show(const std::string& task, std::size_t done, std::size_t total) {
    const auto now = std::chrono::steady_clock::now();
    if (task != task_) {
      task_ = task;
      begin_ = last_;  // the first pass is done already
      shown_ = {};
    }
    last_ = now;
    const double since_shown = std::chrono::duration<double>(now - shown_).count();
    if (done < total && since_shown < (line_.terminal() ? 0.2 : 30.0)) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - begin_).count();
    const double rate = static_cast<double>(done) / std::max(seconds, 1e-9);
    const std::size_t filled = total > 0 ? done * 24 / total : 24;
    line_.show(
        {{fmt::format("{:<10}", task), never_dropped},
         {fmt::format("[{}{}]", std::string(filled, '#'), std::string(24 - filled, '.')), 20},
         {fmt::format("{}/{} requests", done, total), 70},
         {fmt::format("{:.1f}/s", rate), 40},
         {fmt::format("left {}", duration_text(static_cast<double>(total - done) / rate)),
          never_dropped}});
  }

 private:
  LiveLine line_;
  std::string task_;
  std::chrono::steady_clock::time_point begin_, shown_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

// Items are dealt out to the ranks, each of which has the whole model; rank 0 speaks and writes.
void evaluate_as_rank(EvalConfig config, const std::string& tokenizer, JoinedRanks& ranks) {
  const ModelSource source = find_model(config.ckpt_dir, tokenizer);
  std::vector<std::string> notices = source.notices;
  for (const std::string& notice : settle_evaluation(config)) config.notices.push_back(notice);
  const Device device = choose_device(config.device);
  if (ranks.start.rank > 0) {
    run_evaluation(config, source, device, {}, ranks.communicator.get());
    return;
  }
  const OutputFolder folder = open_evaluation_folder(config);
  if (const std::string moves = open_results(config); !moves.empty()) {
    config.notices.push_back(moves);
  }
  notices.insert(notices.end(), config.notices.begin(), config.notices.end());
  for (const std::string& notice : notices) print("note: {}\n", notice);
  print("evaluating {} on {}\n", source.folder.string(), describe_device(device));
  if (device == Device::cpu && config.generator.dtype == EvalDtype::bf16) {
    print("note: generator.dtype is bf16: the CPU computes in FP32\n");
  }
  std::fflush(stdout);
  Evaluation evaluation;
  {
    EvalDisplay display;
    evaluation = run_evaluation(
        config, source, device,
        [&](const std::string& task, std::size_t done, std::size_t total) {
          display.show(task, done, total);
        },
        ranks.communicator.get());
  }
  // Whatever becomes of the files, the results are seen.
  print("\n{}\n", Lines{eval_table(evaluation.results)});
  std::fflush(stdout);
  write_evaluation(config, evaluation, std::max<std::int64_t>(source.step, 0));
  print("results in {}\n", (std::filesystem::path(config.dump_dir) / "results.json").string());
}

void evaluate_checkpoint(const std::string& path, const std::vector<std::string>& overrides,
                         const std::string& tokenizer) {
  const RankStart start = rank_start();
  std::optional<EvalConfig> config;
  said_by_first(start, [&] { config = load_eval_config(path, overrides); });
  run_as_rank(start, config->device,
              [&](JoinedRanks& ranks) { evaluate_as_rank(*config, tokenizer, ranks); });
}

}  // namespace

void add_eval_command(CLI::App& program) {
  CLI::App* command = program.add_subcommand("eval", "Evaluate a model on benchmark tasks");
  std::string tasks;
  for (const TaskDefinition& task : evaluation_tasks()) tasks += " " + task.name;
  command->footer(
      "Tasks:" + tasks +
      "\n"
      "ckpt_dir is a checkpoint, a run's folder (its newest checkpoint), an exported model or a\n"
      "Hugging Face Llama folder. Keys of the config can be overridden:\n\n"
      "  memengine eval configs/eval.yaml ckpt_dir=runs/laptop data_dir=data/eval "
      "harness.limit=100");
  const auto arguments = add_config(*command);
  auto tokenizer = std::make_shared<std::string>();
  command
      ->add_option("--tokenizer", *tokenizer,
                   "Tokenizer file (or 'bytes') in place of the model's own")
      ->transform(home_path());
  command->callback([=] {
    const ConfigArguments given = settled(*arguments, "eval");
    evaluate_checkpoint(given.path, given.overrides, *tokenizer);
  });
}

}  // namespace memengine
