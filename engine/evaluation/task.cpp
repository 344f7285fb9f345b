// Loading tasks and building their prompts.
#include "engine/evaluation/task.h"

#include <fmt/ranges.h>

#include "engine/evaluation/python/python_random.h"
#include "engine/evaluation/tasks/task_files.h"
#include "kernels/runtime/error.h"

namespace memengine {
namespace {

struct TaskKind {
  const char* name;
  Task (*define)();
  Document (*document)(const JsonRecord&);
};

constexpr TaskKind task_kinds[] = {{"hellaswag", hellaswag_task, hellaswag_document},
                                   {"piqa", piqa_task, piqa_document},
                                   {"nq_open", nq_open_task, nq_open_document}};

std::vector<Document> load_split(const TaskKind& kind, const std::filesystem::path& file) {
  std::vector<Document> documents;
  read_json_lines(file, [&](const JsonRecord& record) {
    documents.push_back(kind.document(record));
    documents.back().where = record.where();
  });
  if (documents.empty()) fail_input("{}: the file has no records", file.string());
  return documents;
}

// The pool positions of one document's examples.
std::vector<std::uint32_t> draw_shots(const std::vector<Document>& pool, const Document& evaluated,
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

const std::vector<std::string>& evaluation_task_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (const TaskKind& kind : task_kinds) all.emplace_back(kind.name);
    return all;
  }();
  return names;
}

Task load_task(const std::string& name, const std::filesystem::path& data_root, bool with_shots) {
  for (const TaskKind& kind : task_kinds) {
    if (name != kind.name) continue;
    const std::filesystem::path folder = data_root / name;
    const std::filesystem::path validation = folder / "validation.jsonl";
    if (!std::filesystem::exists(validation)) {
      fail_input("{}: missing; task {} needs its validation set there as JSON lines",
                 validation.string(), name);
    }
    Task task = kind.define();
    task.documents = load_split(kind, validation);
    if (with_shots && std::filesystem::exists(folder / "train.jsonl")) {
      task.train = load_split(kind, folder / "train.jsonl");
    }
    return task;
  }
  fail_input("unknown evaluation task \"{}\": known are {}", name,
             fmt::join(evaluation_task_names(), ", "));
}

std::vector<std::string> build_contexts(const Task& task, int num_fewshot, std::size_t count,
                                        std::uint64_t seed) {
  const std::vector<Document>& pool = task.shot_pool();
  if (num_fewshot < 0) fail_input("task {}: num_fewshot must not be negative", task.name);
  const auto shots = static_cast<std::uint32_t>(num_fewshot);
  if (shots > 0 && pool.size() < std::size_t{shots} + 1) {
    fail_input("task {}: {} few-shot examples need at least {} documents to draw from, not {}",
               task.name, shots, shots + 1, pool.size());
  }
  PythonRandom random(seed);
  std::vector<std::string> contexts;
  contexts.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const Document& document = task.documents[i];
    std::string context = task.description;
    if (shots > 0) {
      for (const std::uint32_t index : draw_shots(pool, document, shots, random)) {
        context += pool[index].question;
        context += task.target_delimiter;
        context += pool[index].shown_answer();
        context += task.fewshot_delimiter;
      }
    }
    context += document.question;
    contexts.push_back(std::move(context));
  }
  return contexts;
}

}  // namespace memengine
