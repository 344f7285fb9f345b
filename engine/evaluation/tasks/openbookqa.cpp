// OpenBookQA (Mihaylov et al. 2018): questions that elementary science facts answer, without the
// facts. Scored on the test set; the prompt is the question alone.
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"
#include "engine/evaluation/tasks/ai2_record.h"

namespace memengine {
namespace {

Document read_openbookqa(const JsonRecord& record) {
  return read_ai2_record(record, "question_stem");
}

}  // namespace

TaskDefinition openbookqa() {
  TaskDefinition task;
  task.name = "openbookqa";
  task.question_template = "question_stem";
  task.metrics = {&metric_acc, &metric_acc_norm};
  task.asked = {"test", {"openbookqa/test.jsonl", "OpenBookQA-V1-Sep2018/Data/Main/test.jsonl"}};
  task.shots = {"train", {"openbookqa/train.jsonl", "OpenBookQA-V1-Sep2018/Data/Main/train.jsonl"}};
  task.read = read_openbookqa;
  return task;
}

}  // namespace memengine
