// Natural Questions, open domain (Kwiatkowski et al. 2019, Lee et al. 2019): a short answer,
// generated greedily up to a newline, full stop or comma, and compared with every accepted one.
// A few-shot example shows the first accepted answer; examples are one newline apart.
#include <string>

#include "engine/evaluation/tasks/task_files.h"
#include "kernels/runtime/error.h"

namespace memengine {

Task nq_open_task() {
  Task task;
  task.name = "nq_open";
  task.kind = Task::Kind::generation;
  task.version = 4.0;
  task.question_template = "Q: {{question}}?\nA:";
  task.description = "Answer these questions:\n\n";
  task.fewshot_delimiter = "\n";
  task.metrics = {"exact_match"};
  task.filter = "remove_whitespace";
  task.until = {"\n", ".", ","};
  return task;
}

Document nq_open_document(const JsonRecord& record) {
  Document document;
  document.question = "Q: " + record.text("question") + "?\nA:";
  document.answers = record.texts("answer");
  if (document.answers.empty()) fail_input("{}: \"answer\" is an empty list", record.where());
  document.record = record.object().dump();
  return document;
}

}  // namespace memengine
