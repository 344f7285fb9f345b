// CUDA graphs by stream capture, and events.
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/step_graph.h"

namespace memengine::cuda {

void* record_graph(const Context& context, const std::function<void()>& body) {
  MEMENGINE_CUDA_CHECK(cudaStreamBeginCapture(context.stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t graph = nullptr;
  try {
    body();
  } catch (...) {
    cudaStreamEndCapture(context.stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  MEMENGINE_CUDA_CHECK(cudaStreamEndCapture(context.stream, &graph));
  cudaGraphExec_t executable = nullptr;
  const cudaError_t status = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  MEMENGINE_CUDA_CHECK(status);
  return executable;
}

void launch_graph(const Context& context, void* executable) {
  MEMENGINE_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable), context.stream));
}

void destroy_graph(void* executable) noexcept {
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable));
}

void* create_event() {
  cudaEvent_t event = nullptr;
  MEMENGINE_CUDA_CHECK(cudaEventCreate(&event));
  return event;
}

// In a recorded graph every replay marks anew.
void record_event(const Context& context, void* event) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  MEMENGINE_CUDA_CHECK(cudaStreamIsCapturing(context.stream, &status));
  MEMENGINE_CUDA_CHECK(cudaEventRecordWithFlags(
      static_cast<cudaEvent_t>(event), context.stream,
      status == cudaStreamCaptureStatusNone ? cudaEventRecordDefault : cudaEventRecordExternal));
}

void wait_event(void* event) {
  MEMENGINE_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event)));
}

double seconds_between(void* first, void* second) {
  wait_event(second);
  float milliseconds = 0;
  MEMENGINE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, static_cast<cudaEvent_t>(first),
                                            static_cast<cudaEvent_t>(second)));
  return milliseconds / 1e3;
}

void destroy_event(void* event) noexcept {
  cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

}  // namespace memengine::cuda
