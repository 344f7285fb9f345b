// BoolQ (Clark et al. 2019): a yes/no question about a passage. Three forms are found: SuperGLUE's
// ("label", true or false), its data set's (0 or 1), and the original ("answer", with "title" and
// without "idx").
#include <string>

#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/json_record.h"

namespace memengine {
namespace {

Document read_boolq(const JsonRecord& record) {
  Document document;
  const std::string passage = record.text("passage"), question = record.text("question");
  document.question = passage + "\nQuestion: " + question + "?\nAnswer:";
  document.choices = {"no", "yes"};
  const bool original = !record.has("label") && record.has("answer");
  document.gold = record.label(original ? "answer" : "label", 2);
  document.target = std::to_string(document.gold);
  nlohmann::ordered_json object = record.object();
  if (original) {
    object = {{"question", question}, {"passage", passage}, {"idx", record.index()}};
  }
  object["label"] = document.gold;
  document.record = object.dump();
  return document;
}

}  // namespace

TaskDefinition boolq() {
  TaskDefinition task;
  task.name = "boolq";
  task.version = 2.0;
  task.question_template = "{{passage}}\nQuestion: {{question}}?\nAnswer:";
  task.metrics = {&metric_acc};
  task.asked = {"validation", {"boolq/validation.jsonl", "BoolQ/val.jsonl", "boolq/dev.jsonl"}};
  task.shots = {"train", {"boolq/train.jsonl", "BoolQ/train.jsonl"}};
  task.read = read_boolq;
  return task;
}

}  // namespace memengine
