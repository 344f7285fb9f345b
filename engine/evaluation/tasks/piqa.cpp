// PIQA (Bisk et al. 2020): which of two solutions reaches a goal. Texts are used as they are,
// spaces at their ends included.
#include <string>

#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {

namespace {

Document read_piqa(const JsonRecord& record) {
  Document document;
  document.question = "Question: " + record.text("goal") + "\nAnswer:";
  document.choices = {record.text("sol1"), record.text("sol2")};
  document.gold = record.label("label", 2);
  for (const std::string& choice : document.choices) {
    if (choice.empty()) fail_input("{}: a solution is empty", record.where());
  }
  document.record = record.object().dump();
  document.target = std::to_string(document.gold);
  return document;
}

}  // namespace

TaskDefinition piqa() {
  TaskDefinition task;
  task.name = "piqa";
  task.question_template = "Question: {{goal}}\nAnswer:";
  task.metrics = {&metric_acc, &metric_acc_norm};
  task.asked = {"validation", {"piqa/validation.jsonl"}};
  task.shots = {"train", {"piqa/train.jsonl"}};
  task.read = read_piqa;
  return task;
}

}  // namespace memengine
