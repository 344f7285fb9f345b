// The device's part of a training step: what is the same sequence of launches every time.
//
// The trainer and the benchmark replay it as a graph (kernels/runtime/step_graph.h).
#pragma once

#include <cstdint>

#include "engine/training/batch_buffers.h"
#include "engine/training/training_model.h"
#include "engine/training/watch/probe.h"

namespace memengine {

// Whether the step's launches are the same every time, so that they can be replayed as a graph, and
// the config wants that.
bool step_is_recorded(const RunConfig& config, const TrainingModel& model);

// Zeroes the gradients, runs forward and backward of `micro_batches` uploaded batches, and updates
// the model. batches.loss() = the sum of all losses times `gradient_scale`, which is one over the
// targets of the step. With a probe the last micro-batch is looked into.
void compute_step(const Context& context, TrainingModel& model, const BatchBuffers& batches,
                  std::int64_t micro_batches, double gradient_scale, Probe* probe = nullptr);

}  // namespace memengine
