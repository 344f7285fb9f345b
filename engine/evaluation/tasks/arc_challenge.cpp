// The AI2 Reasoning Challenge's challenge part (Clark et al. 2018): science questions of grades 3
// to 9, those that neither looking words up nor counting them together answered. Scored on the test
// set.
#include <string>

#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/ai2_record.h"

namespace memengine {
namespace {

Document read_arc_challenge(const JsonRecord& record) {
  Document document = read_ai2_record(record, "question");
  document.question = "Question: " + document.question + "\nAnswer:";
  return document;
}

}  // namespace

TaskDefinition arc_challenge() {
  TaskDefinition task;
  task.name = "arc_challenge";
  task.groups = {"arc", "ai2_arc"};
  task.question_template = "Question: {{question}}\nAnswer:";
  task.metrics = {&metric_acc, &metric_acc_norm};
  task.asked = {
      "test",
      {"arc_challenge/test.jsonl", "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl"}};
  task.shots = {
      "train",
      {"arc_challenge/train.jsonl", "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Train.jsonl"}};
  task.read = read_arc_challenge;
  return task;
}

}  // namespace memengine
