// Loading tasks and building their prompts.
#include "engine/evaluation/task.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "engine/evaluation/python/python_random.h"
#include "engine/evaluation/tasks/json_record.h"
#include "io/files/is_there.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

std::vector<Document> load_split(const TaskDefinition& task, const std::filesystem::path& file) {
  std::vector<Document> documents;
  read_json_lines(file, [&](const JsonRecord& record) {
    documents.push_back(task.read(record));
    documents.back().where = record.where();
  });
  if (documents.empty()) fail_input("{}: the file has no records", file.string());
  return documents;
}

// The pool positions of the examples of one document that is not to be among them.
std::vector<std::uint32_t> draw_others(const std::vector<Document>& pool, const Document& evaluated,
                                       std::uint32_t shots, PythonRandom& random) {
  const auto others = [&](const std::vector<std::uint32_t>& drawn) {
    std::vector<std::uint32_t> kept;
    for (const std::uint32_t index : drawn) {
      if (kept.size() < shots && pool[index].record != evaluated.record) kept.push_back(index);
    }
    return kept;
  };
  const auto size = static_cast<std::uint32_t>(pool.size());
  std::vector<std::uint32_t> kept = others(random.sample(size, shots + 1));
  if (kept.size() == shots) return kept;

  // More than one copy of the document was drawn: draw again from the pool without its copies.
  std::vector<std::uint32_t> allowed;
  for (std::uint32_t i = 0; i < size; ++i) {
    if (pool[i].record != evaluated.record) allowed.push_back(i);
  }
  if (allowed.size() < shots) {
    fail_input("{}: only {} other documents to draw {} few-shot examples from", evaluated.where,
               allowed.size(), shots);
  }
  kept = random.sample(static_cast<std::uint32_t>(allowed.size()), shots);
  for (std::uint32_t& index : kept) index = allowed[index];
  return kept;
}

}  // namespace

const TaskDefinition* find_evaluation_task(std::string_view name) {
  for (const TaskDefinition& task : evaluation_tasks()) {
    if (task.name == name) return &task;
  }
  return nullptr;
}

std::vector<std::string> evaluation_task_names(const std::string& name) {
  std::vector<std::string> names, known;
  for (const TaskDefinition& task : evaluation_tasks()) {
    const auto& groups = task.groups;
    if (task.name == name || std::find(groups.begin(), groups.end(), name) != groups.end()) {
      names.push_back(task.name);
    }
    known.push_back(task.name);
    for (const std::string& group : groups) {
      if (std::find(known.begin(), known.end(), group) == known.end()) known.push_back(group);
    }
  }
  if (names.empty()) {
    fail_input("harness.tasks: no task '{}'; there are {}", name, fmt::join(known, ", "));
  }
  return names;
}

std::filesystem::path find_split(const Split& split, const std::filesystem::path& data_root) {
  for (const std::filesystem::path& file : split.files) {
    if (is_there(data_root / file)) return data_root / file;
  }
  return {};
}

Task load_task(const std::string& name, const std::filesystem::path& data_root, bool with_shots,
               const std::filesystem::path& path) {
  const TaskDefinition* definition = find_evaluation_task(name);
  if (definition == nullptr) fail_input("unknown evaluation task \"{}\"", name);
  Task task{*definition, {}, {}};
  const std::filesystem::path asked = path.empty() ? find_split(task.asked, data_root) : path;
  if (asked.empty()) {
    fail_input("{}: missing; task {} needs its {} set there as JSON lines",
               (data_root / task.asked.files.front()).string(), name, task.asked.name);
  }
  task.documents = load_split(task, asked);
  const std::filesystem::path train = find_split(task.shots, data_root);
  if (with_shots && !train.empty()) task.train = load_split(task, train);
  return task;
}

std::vector<std::string> build_preambles(const Task& task, int num_fewshot, std::size_t count,
                                         std::uint64_t seed) {
  const std::vector<Document>& pool = task.shot_pool();
  if (num_fewshot < 0) fail_input("task {}: num_fewshot must not be negative", task.name);
  const auto shots = static_cast<std::uint32_t>(num_fewshot);
  const std::size_t needed = std::size_t{shots} + (task.spares_the_asked() ? 1 : 0);
  if (shots > 0 && pool.size() < needed) {
    fail_input("task {}: {} few-shot examples need at least {} documents to draw from, not {}",
               task.name, shots, needed, pool.size());
  }
  PythonRandom random(seed);
  std::vector<std::string> preambles(count, task.description);
  if (shots == 0) return preambles;
  for (std::size_t i = 0; i < count; ++i) {
    const std::vector<std::uint32_t> drawn =
        task.spares_the_asked() ? draw_others(pool, task.documents[i], shots, random)
                                : random.sample(static_cast<std::uint32_t>(pool.size()), shots);
    for (const std::uint32_t index : drawn) {
      preambles[i] += pool[index].question;
      preambles[i] += task.target_delimiter;
      preambles[i] += pool[index].shown_answer();
      preambles[i] += task.fewshot_delimiter;
    }
  }
  return preambles;
}

}  // namespace memengine
