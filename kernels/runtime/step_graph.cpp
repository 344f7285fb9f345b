// Graphs and markers, which are nothing on the CPU.
#include "kernels/runtime/step_graph.h"

namespace memengine {

StepGraph::~StepGraph() {
  if constexpr (cuda_build) {
    if (executable_ != nullptr) cuda::destroy_graph(executable_);
  }
}

void StepGraph::run(const Context& context, bool enabled, const std::function<void()>& body) {
  if constexpr (cuda_build) {
    if (context.on_cuda() && enabled) {
      if (calls_++ == 0) {
        body();
        return;
      }
      if (executable_ == nullptr) executable_ = cuda::record_graph(context, body);
      cuda::launch_graph(context, executable_);
      return;
    }
  }
  body();
}

StreamMarker::~StreamMarker() {
  if constexpr (cuda_build) {
    if (event_ != nullptr) cuda::destroy_event(event_);
  }
}

void StreamMarker::record(const Context& context) {
  if constexpr (cuda_build) {
    if (context.on_cuda()) {
      if (event_ == nullptr) event_ = cuda::create_event();
      cuda::record_event(context, event_);
    }
  }
}

void StreamMarker::wait() {
  if constexpr (cuda_build) {
    if (event_ != nullptr) cuda::wait_event(event_);
  }
}

double StreamMarker::seconds_until(StreamMarker& later) {
  if constexpr (cuda_build) {
    if (event_ != nullptr && later.event_ != nullptr) {
      return cuda::seconds_between(event_, later.event_);
    }
  }
  return 0;
}

}  // namespace memengine
