// memengine memory ablate MODEL [--data SHARDS] [--rows 3,17] [--questions FILE] [--tasks ...]
#include "cli/arguments/arguments.h"
#include "cli/memory/memory.h"
#include "engine/memory_probe/silence/ablation.h"

namespace memengine {
namespace {

struct AblateArguments : MemoryArguments {
  AblationOptions ablation;
  std::string rows;
};

void print_ablation(const Ablation& ablation) {
  print("{} tokens of {}, {} windows\n\n", grouped(ablation.tokens), ablation.corpus,
        grouped(ablation.windows));
  std::string head =
      fmt::format("{:<16} {:>8} {:>9} {:>8}", "silenced", "loss", "change", "stderr");
  const AblationResult& whole = ablation.results.front();
  if (whole.recall) head += fmt::format(" {:>9}", "recall");
  for (const EvalTaskResult& task : whole.tasks) {
    for (const EvalMetric& metric : task.metrics) {
      head += fmt::format("  {}/{}", task.task.name, metric.name);
    }
  }
  print("{}\n", head);
  for (const AblationResult& result : ablation.results) {
    std::string line = fmt::format(
        "{:<16} {:>8.4f} {:>9} {:>8}", result.silenced.empty() ? "nothing" : result.silenced,
        result.loss, result.silenced.empty() ? "" : fmt::format("{:+.4f}", result.change),
        result.silenced.empty() ? "" : fmt::format("{:.4f}", result.change_error));
    if (result.recall)
      line += fmt::format(" {:>8.1f}%", 100 * result.recall->metrics.front().value);
    for (const EvalTaskResult& task : result.tasks) {
      for (const EvalMetric& metric : task.metrics) {
        line += fmt::format("  {:>{}.4f}", metric.value,
                            task.task.name.size() + metric.name.size() + 1);
      }
    }
    print("{}\n", line);
  }
}

void memory_ablate(AblateArguments arguments) {
  AblationOptions& options = arguments.ablation;
  const std::string split_if_any = options.corpus.split_if_any;
  options.corpus = arguments.corpus;
  options.corpus.split_if_any = split_if_any;
  if (!arguments.rows.empty()) options.rows = parse_rows(arguments.rows);
  if (!options.tasks.empty() && options.task_data.empty()) {
    fail_input("--tasks: name the folder of their sets with --eval-data");
  }
  arguments.model.generates = !options.tasks.empty() || !options.questions.empty();
  ProbeModel model(arguments.model);
  ReadingLine line("");
  const Ablation ablation = run_ablation(
      model, options, [&](const std::string& what, std::int64_t done, std::int64_t all) {
        line.show(what, done, all);
      });
  line.clear();
  if (!said_in_json(arguments, ablation_json(ablation))) print_ablation(ablation);
}

}  // namespace

void add_memory_ablate(CLI::App& memory) {
  CLI::App* command =
      memory.add_subcommand("ablate", "Loss with each layer, head, or a list of rows silenced");
  auto arguments = std::make_shared<AblateArguments>();
  add_model(*command, *arguments);
  add_corpus(*command, *arguments);
  AblationOptions& options = arguments->ablation;
  command->add_option("--rows", arguments->rows, "Also silence these together: 3,17 or @FILE");
  command->add_option("--layer", options.rows_layer,
                      "Whose table they are of, where each layer has its own");
  command
      ->add_option("--questions", options.questions,
                   "Also recall these: questions.jsonl of `memengine synth`")
      ->transform(home_path());
  command->add_option("--question-limit", options.question_limit, "Of them; 0: all")
      ->check(at_least(0));
  command->add_option("--tasks", options.tasks, "Also evaluate: hellaswag piqa ...");
  command->add_option("--eval-data", options.task_data, "Folder of the tasks' sets")
      ->transform(home_path());
  command->add_option("--limit", options.task_limit, "Documents a task; 0: all");
  add_json(*command, *arguments);
  command->callback([=] { memory_ablate(*arguments); });
}

}  // namespace memengine
