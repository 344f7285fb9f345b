// A model in training, for measurements: the trainer's steps without reports and checkpoints. With
// several ranks all of them make the same calls.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config/config.h"
#include "engine/training/bad_numbers.h"
#include "engine/training/batch_buffers.h"
#include "engine/training/training_model.h"
#include "kernels/runtime/runtime.h"
#include "kernels/runtime/step_graph.h"

namespace memengine::bench {

class TrainingLoop {
 public:
  // Fresh weights; tokens of the shards below the folder `data`, or random ones where it is empty.
  // config.steps bounds how many steps can be run in all. `ranks` are those of config.ranks, and
  // outlive the loop; null: there is one.
  TrainingLoop(const RunConfig& config, Device device, const std::string& data,
               Communicator* ranks = nullptr);
  ~TrainingLoop();

  // Trains `count` more steps (a graph on a GPU, unless the config says cuda_graph: false) and
  // waits for them. Returns the seconds of each: between its end and that of the step before on a
  // GPU. Without `guarded` nobody looks whether the numbers are good (optim/update_guard.h). The
  // first two calls of each kind also prepare its graph.
  std::vector<double> run(int count, bool guarded = true) {
    return run_with(guarded ? graph_ : unguarded_graph_, count, guarded);
  }
  // The same with a graph of its own, so that what the exchanges of ranks are asked for while it is
  // recorded is in no other.
  std::vector<double> run_observed(int count) { return run_with(observed_graph_, count, true); }

  Runtime& runtime() { return runtime_; }
  TrainingModel& model() { return model_; }
  const BatchBuffers& buffers() const { return buffers_; }

 private:
  struct Source;

  std::vector<double> run_with(StepGraph& graph, int count, bool guarded);

  RunConfig config_;
  Runtime runtime_;
  TrainingModel model_;
  BatchBuffers buffers_;
  std::unique_ptr<Source> source_;
  BadNumbers bad_numbers_;
  StepGraph graph_, unguarded_graph_, observed_graph_;
  std::int64_t step_ = 0;
};

}  // namespace memengine::bench
