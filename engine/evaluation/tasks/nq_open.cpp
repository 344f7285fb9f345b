// Natural Questions, open domain (Kwiatkowski et al. 2019, Lee et al. 2019): a short answer,
// generated greedily up to a newline, full stop or comma, and compared with every accepted one.
// A few-shot example shows the first accepted answer; examples are one newline apart.
#include <string>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {

namespace {

Document read_nq_open(const JsonRecord& record) {
  Document document;
  document.question = "Q: " + record.text("question") + "?\nA:";
  document.answers = record.texts("answer");
  if (document.answers.empty()) fail_input("{}: \"answer\" is an empty list", record.where());
  document.record = record.object().dump();
  document.target = python_repr(document.answers);
  return document;
}

}  // namespace

TaskDefinition nq_open() {
  TaskDefinition task;
  task.name = "nq_open";
  task.kind = TaskDefinition::Kind::generation;
  task.version = 4.0;
  task.question_template = "Q: {{question}}?\nA:";
  task.description = "Answer these questions:\n\n";
  task.fewshot_delimiter = "\n";
  task.metrics = {&metric_exact_match};
  task.filter = "remove_whitespace";
  task.until = {"\n", ".", ","};
  task.asked = {"validation", {"nq_open/validation.jsonl"}};
  task.shots = {"train", {"nq_open/train.jsonl"}};
  task.read = read_nq_open;
  return task;
}

}  // namespace memengine
