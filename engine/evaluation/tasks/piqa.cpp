// PIQA (Bisk et al. 2020): which of two solutions reaches a goal. Texts are used as they are,
// spaces at their ends included.
#include <string>

#include "engine/evaluation/tasks/task_files.h"
#include "kernels/runtime/error.h"

namespace memengine {

Task piqa_task() {
  Task task;
  task.name = "piqa";
  task.question_template = "Question: {{goal}}\nAnswer:";
  task.metrics = {"acc", "acc_norm"};
  return task;
}

Document piqa_document(const JsonRecord& record) {
  Document document;
  document.question = "Question: " + record.text("goal") + "\nAnswer:";
  document.choices = {record.text("sol1"), record.text("sol2")};
  document.gold = record.label("label", 2);
  for (const std::string& choice : document.choices) {
    if (choice.empty()) fail_input("{}: a solution is empty", record.where());
  }
  document.record = record.object().dump();
  return document;
}

}  // namespace memengine
