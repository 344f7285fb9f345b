// Every evaluation task: a new one is its own file in this folder, and its name twice here.
#include "engine/evaluation/task.h"

namespace memengine {

TaskDefinition arc_challenge();
TaskDefinition arc_easy();
TaskDefinition boolq();
TaskDefinition hellaswag();
TaskDefinition lambada_openai();
TaskDefinition loss();
TaskDefinition nq_open();
TaskDefinition openbookqa();
TaskDefinition piqa();
TaskDefinition recall();
TaskDefinition winogrande();

const std::vector<TaskDefinition>& evaluation_tasks() {
  static const std::vector<TaskDefinition> tasks = {
      hellaswag(), piqa(),       nq_open(),        arc_easy(), arc_challenge(), winogrande(),
      boolq(),     openbookqa(), lambada_openai(), recall(),   loss()};
  return tasks;
}

}  // namespace memengine
