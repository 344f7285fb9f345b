// Facts about the people of `memengine synth`: a training sentence up to its value, continued
// greedily up to the full stop. Right is what the sentence said (as exact_match compares): the
// share of facts that a model has stored ("Physics of Language Models: Part 3", Allen-Zhu and Li
// 2023). Not a task of the harness; the set is what synth writes beside its texts.
#include <string>

#include "engine/evaluation/python/python_text.h"
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"
#include "kernels/runtime/error.h"

namespace memengine {

namespace {

Document read(const JsonRecord& record) {
  Document document;
  document.question = record.text("prompt");
  std::string answer = record.text("answer");
  answer.erase(0, answer.find_first_not_of(' '));
  if (answer.empty()) fail_input("{}: \"answer\" is empty", record.where());
  document.answers = {answer};
  document.record = record.object().dump();
  document.target = python_repr(document.answers);
  return document;
}

}  // namespace

TaskDefinition recall() {
  TaskDefinition task;
  task.name = "recall";
  task.kind = TaskDefinition::Kind::generation;
  task.question_template = "{{prompt}}";
  task.metrics = {&metric_exact_match};
  task.filter = "remove_whitespace";
  task.until = {".", "\n"};
  task.max_gen_tokens = 24;
  task.asked = {"questions", {"recall/questions.jsonl", "questions.jsonl"}};
  task.read = read;
  return task;
}

}  // namespace memengine
