// The loss on held-out text, per token: of any shards or texts, by default of the part that was
// held out of the model's own data. engine/evaluation/corpus/ reads and measures.
#include "engine/evaluation/scoring/metrics.h"
#include "engine/evaluation/task.h"

namespace memengine {

TaskDefinition loss() {
  TaskDefinition task;
  task.name = "loss";
  task.kind = TaskDefinition::Kind::loss;
  task.metrics = {&metric_loss};
  task.asked = {"validation", {}};
  return task;
}

}  // namespace memengine
