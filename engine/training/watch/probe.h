// Looks into the model every probe_freq steps: statistics of what a forward pass computes.
//
// Of every residual state and every layer's output, and for each memory layer of the scores of its
// picks, their weights, and the entropy of the weights over knn: mean, standard deviation, largest
// absolute value, share of zeros. A probed step is the same step: while it runs, ops of
// kernels/statistics read what it computes (of the last micro-batch), its numbers do not change.
// The results, some hundred numbers, are copied to the host after the step without anybody waiting
// for them, and are reported with a later one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/training/training_listener.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/runtime/step_graph.h"
#include "model/transformer.h"

namespace memengine {

class Probe {
 public:
  // `every` counts steps, from 1 on: the first step is probed too.
  Probe(std::int64_t every, const Transformer& transformer, Device device);

  // What that allocates on the device.
  static std::int64_t planned_bytes(const Transformer& transformer);
  // Scratch memory of a probed pass.
  static std::int64_t scratch_bytes(const Transformer& transformer, Device device);

  // Whether the step that makes the `step`th update is probed.
  bool due(std::int64_t step) const { return step == 1 || step % every_ == 0; }

  // Sets the hooks of a forward pass to be probed. The context and this object outlive the pass.
  void attach(const Context& context, PassHooks& hooks);
  // After the pass: sends the numbers to the host.
  void fetch(const Context& context, std::int64_t step);
  // The probe that was fetched last, once: waits until it is there. Empty when there is none.
  std::optional<ProbeReport> take();
  // The step that take() would tell about, or -1.
  std::int64_t pending() const { return pending_; }

 private:
  // A place for the statistics of the next tensor.
  Tensor next(const std::string& name, std::int64_t count);

  std::int64_t every_;
  Arena arena_;
  Tensor numbers_;  // f64 [tensors, statistics_count]
  Tensor scores_;   // [N, H, knn]; empty without memory layers
  std::unique_ptr<double, void (*)(void*)> on_host_;
  StreamMarker fetched_;
  std::vector<std::string> names_;    // of the tensors, in the order of the pass
  std::vector<std::int64_t> counts_;  // of their elements
  std::int64_t pending_ = -1;
};

}  // namespace memengine
