// An evaluation's config in words: its tasks and sets, its model, and the memory it would take.
#include <fmt/core.h>

#include "cli/inspect/inspect.h"
#include "cli/terminal.h"
#include "engine/evaluation/evaluation.h"
#include "engine/run/run_files.h"
#include "engine/run/settle_evaluation.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

void print_task(const EvalConfig& config, const EvalTask& task) {
  const std::int64_t shots = task.num_fewshot.value_or(config.harness.num_fewshot.value_or(0));
  const double limit = task.limit.value_or(config.harness.limit.value_or(0));
  std::string text = fmt::format("{} shots", shots);
  if (find_evaluation_task(task.task)->kind == TaskDefinition::Kind::loss) {
    print("  {:<14} {}\n", task.title(), task.path.value_or("the model's own held-out data"));
    return;
  }
  try {
    const Task loaded = load_task(task.task, config.data_dir.value_or("data_dir"), shots > 0,
                                  task.path.value_or(""));
    if (shots > 0) text += fmt::format(" (from {})", loaded.shot_split());
    text += fmt::format(", {} items", loaded.documents.size());
  } catch (const Error& error) {
    text += fmt::format("; {}", error.what());
  }
  if (limit >= 1) text += fmt::format(", of which {} are asked", limit);
  if (limit > 0 && limit < 1) text += fmt::format(", of which {}% are asked", limit * 100);
  print("  {:<14} {}\n", task.title(), text);
}

}  // namespace

void inspect_evaluation(const InspectArguments& arguments) {
  EvalConfig config = load_eval_config(arguments.path.string(), arguments.overrides);
  for (const std::string& notice : settle_evaluation(config)) config.notices.push_back(notice);
  print("{}: {}, results go to {}\n", arguments.path.string(), config.name, config.dump_dir);
  for (const std::string& notice : config.notices) print("note: {}\n", notice);
  for (const EvalTask& task : asked_tasks(config)) print_task(config, task);
  ModelSource source;
  try {
    source = find_model(config.ckpt_dir);
  } catch (const Error& error) {
    print("no model yet: {}\n", error.what());
    return;
  }
  const ModelConfig& model = source.model;
  print("model {}\n  {} layers, dim {}, vocabulary {}, reads {} tokens\n", source.folder.string(),
        model.n_layers, model.dim, grouped(model.vocab_size),
        config.max_length.value_or(model.max_seqlen));
  for (const Device device : {Device::cuda, Device::cpu}) {
    const bool asked =
        arguments.device.empty() || (arguments.device == "cuda") == (device == Device::cuda);
    const std::optional<MemoryBudget> budget = inspected_budget(arguments, device);
    if (!asked || (arguments.device.empty() && !budget)) continue;
    const MemoryPlan plan = evaluation_plan(config, model, device);
    print("\nmemory for evaluation on {}\n{}", device == Device::cuda ? "a GPU" : "the CPU",
          Lines{plan_text(plan, device)});
    const std::optional<std::string> shortage =
        budget ? plan_shortage(plan, device, *budget) : std::nullopt;
    if (budget) print("  {}\n", shortage ? "it does not fit: " + *shortage : "it fits");
  }
}

}  // namespace memengine
