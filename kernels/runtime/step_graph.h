// Replays a step as one CUDA graph, and marks places in a stream that the host can wait for.
//
// A training step is over a thousand launches; for a small model launching them one by one takes
// longer than running them. Because a step never asks the host anything, its launches are the same
// every time: they are recorded once and replayed with a single launch.
#pragma once

#include <functional>

#include "kernels/runtime/context.h"

namespace memengine {

class StepGraph {
 public:
  StepGraph() = default;
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // Runs `body`, which enqueues the same work on the context's stream every time. The first call
  // runs it plainly (libraries choose algorithms and load code then), the second records it, every
  // later one replays the record. On the CPU, or without `enabled`, it is always run plainly.
  void run(const Context& context, bool enabled, const std::function<void()>& body);

 private:
  int calls_ = 0;
  void* executable_ = nullptr;  // cudaGraphExec_t
};

// A place in a stream. On the CPU, where work is done when it is enqueued, there is nothing to wait
// for.
class StreamMarker {
 public:
  StreamMarker() = default;
  ~StreamMarker();
  StreamMarker(const StreamMarker&) = delete;
  StreamMarker& operator=(const StreamMarker&) = delete;

  // Marks everything enqueued so far.
  void record(const Context& context);
  // The host waits until the marked work is done; at once when nothing was marked.
  void wait();
  // Seconds between the completion of two recorded marks; waits for the later one. CUDA only.
  double seconds_until(StreamMarker& later);

 private:
  void* event_ = nullptr;  // cudaEvent_t
};

namespace cuda {
// Records `body` on the context's stream; returns the cudaGraphExec_t.
void* record_graph(const Context& context, const std::function<void()>& body);
void launch_graph(const Context& context, void* executable);
void destroy_graph(void* executable) noexcept;
void* create_event();
void record_event(const Context& context, void* event);
void wait_event(void* event);
double seconds_between(void* first, void* second);
void destroy_event(void* event) noexcept;
}  // namespace cuda

}  // namespace memengine
