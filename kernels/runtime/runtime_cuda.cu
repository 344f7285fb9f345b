// Streams, handles, copies and fills on a GPU.
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/gpu_code.h"
#include "kernels/runtime/runtime_cuda.h"

namespace memengine::cuda {
namespace {

// The lower the number, the sooner a stream's blocks get a free multiprocessor.
void open_stream(Context& context, int priority) {
  cudaStream_t stream = nullptr;
  MEMENGINE_CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, priority));
  context.stream = stream;
  cudaEvent_t marker = nullptr;
  MEMENGINE_CUDA_CHECK(cudaEventCreateWithFlags(&marker, cudaEventDisableTiming));
  context.marker = marker;
}

}  // namespace

void open_lane(Context& lane) {
  open_stream(lane, 0);
}

void close_lane(Context& lane) noexcept {
  cudaStreamSynchronize(lane.stream);
  cudaEventDestroy(lane.marker);
  cudaStreamDestroy(lane.stream);
}

std::string why_unusable() {
  int devices = 0;
  const cudaError_t status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess) {
    cudaGetLastError();
    return format_text("CUDA says '{}'", cudaGetErrorString(status));
  }
  return devices > 0 ? "" : "this machine shows no GPU";
}

std::string why_no_code() {
  cudaDeviceProp properties{};
  MEMENGINE_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  return why_no_gpu_code(gpu_code(), properties.name, 10 * properties.major + properties.minor);
}

std::int64_t free_memory_bytes() {
  std::size_t free = 0;
  std::size_t total = 0;
  MEMENGINE_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return static_cast<std::int64_t>(free);
}

std::string describe_device() {
  cudaDeviceProp properties{};
  MEMENGINE_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  int version = 0;
  MEMENGINE_CUDA_CHECK(cudaRuntimeGetVersion(&version));
  return format_text("{}, {:.1f} GiB, CUDA {}.{}", properties.name,
                     static_cast<double>(properties.totalGlobalMem) / (1 << 30), version / 1000,
                     version % 1000 / 10);
}

void open(Context& context) {
  open_lane(context);
  cublasLtHandle_t handle = nullptr;
  MEMENGINE_CUBLAS_CHECK(cublasLtCreate(&handle));
  context.cublaslt = handle;
  int bytes = 0;
  MEMENGINE_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
  context.block_shared_bytes = bytes;
}

// Beside the main stream run kernels of few blocks, which wait for the link most of the time: they
// start at once, and the main stream's kernels fill the rest of the GPU.
void open_side(Context& side) {
  int least = 0;
  int greatest = 0;
  MEMENGINE_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  open_stream(side, greatest);
}

void close(Context& context) noexcept {
  close_lane(context);
  cublasLtDestroy(context.cublaslt);
}

void wait_for(const Context& waiting, const Context& other) {
  MEMENGINE_CUDA_CHECK(cudaEventRecord(other.marker, other.stream));
  MEMENGINE_CUDA_CHECK(cudaStreamWaitEvent(waiting.stream, other.marker, 0));
}

void synchronize(const Context& context) {
  MEMENGINE_CUDA_CHECK(cudaStreamSynchronize(context.stream));
}

void copy_bytes(const Context& context, void* destination, const void* source, std::int64_t bytes) {
  MEMENGINE_CUDA_CHECK(cudaMemcpyAsync(destination, source, static_cast<std::size_t>(bytes),
                                       cudaMemcpyDefault, context.stream));
}

void fill_zero(const Context& context, Tensor tensor) {
  MEMENGINE_CUDA_CHECK(
      cudaMemsetAsync(tensor.data(), 0, static_cast<std::size_t>(tensor.bytes()), context.stream));
}

}  // namespace memengine::cuda
