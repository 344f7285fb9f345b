#include "engine/run/settle_evaluation.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>

#include "engine/evaluation/evaluation.h"
#include "engine/evaluation/task.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

namespace fs = std::filesystem;

constexpr const char* how_to_get =
    "README, Evaluate, and docs/evaluation_tasks.md say which files the sets are";

bool has_set(const fs::path& folder, const EvalTask& task) {
  const TaskDefinition* definition = find_evaluation_task(task.task);
  return definition != nullptr && !find_split(definition->asked, folder).empty();
}

// What a config may name: tasks, then groups of them.
std::vector<std::string> known_names() {
  std::vector<std::string> tasks, groups;
  for (const TaskDefinition& task : evaluation_tasks()) {
    tasks.push_back(task.name);
    for (const std::string& group : task.groups) {
      if (std::find(groups.begin(), groups.end(), group) == groups.end()) groups.push_back(group);
    }
  }
  tasks.insert(tasks.end(), groups.begin(), groups.end());
  return tasks;
}

// Moves the names of the tasks that `is_out` holds for out of the list.
template <typename IsOut>
std::vector<std::string> leave_out(std::vector<EvalTask>& tasks, IsOut is_out) {
  std::vector<std::string> names;
  for (const EvalTask& task : tasks) {
    if (is_out(task)) names.push_back(task.task);
  }
  std::erase_if(tasks, is_out);
  return names;
}

// Empty, or why there is nothing to evaluate.
std::string settle(EvalConfig& config, const std::vector<std::string>& folders,
                   std::vector<std::string>& notices) {
  std::vector<EvalTask>& tasks = config.harness.tasks;
  const std::string key = config.key_prefix + "harness.tasks";
  if (tasks.empty()) {
    return fmt::format("{} is empty: name tasks to evaluate, for instance [hellaswag, piqa]", key);
  }
  const std::vector<std::string> known = known_names();
  const std::vector<std::string> unknown = leave_out(tasks, [&](const EvalTask& task) {
    return std::find(known.begin(), known.end(), task.task) == known.end();
  });
  if (!unknown.empty()) {
    if (tasks.empty()) {
      return fmt::format("{}: no task '{}'; there are {}", key, fmt::join(unknown, "', '"),
                         fmt::join(known, ", "));
    }
    notices.push_back(fmt::format("{}: left out, because they are not here: {}; there are {}", key,
                                  fmt::join(unknown, ", "), fmt::join(known, ", ")));
  }
  if (config.data_dir) return "";
  tasks = asked_tasks(config);  // groups become their members, of which some may be missing
  if (std::none_of(tasks.begin(), tasks.end(), needs_data_dir)) return "";
  for (const std::string& folder : folders) {
    const auto lacks = [&](const EvalTask& task) {
      return needs_data_dir(task) && !has_set(folder, task);
    };
    if (std::none_of(tasks.begin(), tasks.end(), [&](const EvalTask& task) {
          return needs_data_dir(task) && has_set(folder, task);
        })) {
      continue;
    }
    config.data_dir = folder;
    const std::vector<std::string> missing = leave_out(tasks, lacks);
    if (!missing.empty()) {
      notices.push_back(fmt::format("{}: {} has no {}, which is left out; {}", key, folder,
                                    fmt::join(missing, ", "), how_to_get));
    }
    return "";
  }
  const std::vector<std::string> left =
      leave_out(tasks, [](const EvalTask& task) { return needs_data_dir(task); });
  if (!tasks.empty()) {
    notices.push_back(fmt::format("{}: left out, because there are no sets in {}: {}; {}", key,
                                  fmt::join(folders, " or "), fmt::join(left, ", "), how_to_get));
    return "";
  }
  return fmt::format("{}data_dir is missing, and there are no evaluation sets in {}; {}",
                     config.key_prefix, fmt::join(folders, " or "), how_to_get);
}

}  // namespace

std::vector<std::string> settle_evaluation(EvalConfig& config) {
  std::vector<std::string> notices;
  const std::string nothing = settle(config, {"eval", "data/eval"}, notices);
  if (!nothing.empty()) fail_input("{}", nothing);
  return notices;
}

SettledEvaluation settle_evaluation(const RunConfig& run) {
  SettledEvaluation settled;
  if (!run.eval) return settled;
  EvalConfig config = *run.eval;
  std::vector<std::string> folders = {"eval"};
  if (run.data.root_dir)
    folders.insert(folders.begin(), (fs::path(*run.data.root_dir) / "eval").string());
  const std::string nothing = settle(config, folders, settled.notices);
  if (nothing.empty()) {
    settled.config = std::move(config);
  } else {
    settled.notices.push_back("evaluation is left out: " + nothing);
  }
  return settled;
}

}  // namespace memengine
