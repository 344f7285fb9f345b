// Replays a step as one CUDA graph, and marks places in a stream that the host can wait for.
//
// A training step is over a thousand launches; for a small model launching them one by one takes
// longer than running them. Because a step never asks the host anything, its launches are the same
// every time: they are recorded once and replayed with a single launch.
//
// The rules of what is inside:
//   1. Nothing is allocated or freed. Memory is from arenas, scratch is reserved before, and what a
//      step reads and writes lies at the same addresses every time: a record keeps the addresses.
//   2. The host waits for nothing: no synchronisation, no copy from or to memory that is not
//      page-locked, no look at a number on the device. What the host wants to know is copied out
//      after the replay, and waited for at a StreamMarker outside.
//   3. The host decides nothing by data. A grid is as large as the data can be, and kernels read
//      how much there is (the count of distinct rows) from device memory.
//   4. Whatever changes from step to step lies in device memory, as a record keeps kernel arguments
//      too: the step, from which schedules, random numbers and bias corrections follow.
//   5. Another stream comes in by wait_for(other, context) before its first work, and goes out by
//      wait_for(context, other) after its last; in every step, also in one that has nothing for it.
//   6. Processor threads take part by cudaLaunchHostFunc alone (the gather by the processor), whose
//      function calls nothing of CUDA and whose argument lives as long as the record.
//   7. A library may choose algorithms, load code and allocate at its first call: so the first step
//      runs plainly, and workspaces are handed over before.
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

  // Marks everything enqueued so far; recorded into a graph, at every replay.
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
