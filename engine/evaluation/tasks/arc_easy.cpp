// The AI2 Reasoning Challenge's easy part (Clark et al. 2018): science questions of grades 3 to 9,
// those that looking words up or counting them together answered. Scored on the test set.
#include <string>

#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/ai2_record.h"

namespace memengine {
namespace {

Document read_arc_easy(const JsonRecord& record) {
  Document document = read_ai2_record(record, "question");
  document.question = "Question: " + document.question + "\nAnswer:";
  return document;
}

}  // namespace

TaskDefinition arc_easy() {
  TaskDefinition task;
  task.name = "arc_easy";
  task.groups = {"arc", "ai2_arc"};
  task.question_template = "Question: {{question}}\nAnswer:";
  task.metrics = {&metric_acc, &metric_acc_norm};
  task.asked = {"test", {"arc_easy/test.jsonl", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl"}};
  task.shots = {"train",
                {"arc_easy/train.jsonl", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Train.jsonl"}};
  task.read = read_arc_easy;
  return task;
}

}  // namespace memengine
