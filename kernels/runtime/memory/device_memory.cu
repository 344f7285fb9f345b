// GPU memory, and page-locking of host memory so that the GPU reads it where it is.
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/memory/device_memory.h"

namespace memengine::cuda {

void* allocate_memory(std::int64_t bytes) {
  void* address = nullptr;
  if (cudaMalloc(&address, static_cast<std::size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  MEMENGINE_CUDA_CHECK(cudaMemset(address, 0, static_cast<std::size_t>(bytes)));
  MEMENGINE_CUDA_CHECK(cudaDeviceSynchronize());  // streams do not wait for the default stream
  return address;
}

void free_memory(void* address) noexcept {
  cudaFree(address);
}

void* allocate_pinned(std::size_t bytes) {
  void* address = nullptr;
  MEMENGINE_CUDA_CHECK(cudaHostAlloc(&address, bytes, cudaHostAllocPortable));
  return address;
}

void free_pinned(void* address) noexcept {
  cudaFreeHost(address);
}

std::string register_host_memory(void* address, std::int64_t bytes) {
  const cudaError_t status = cudaHostRegister(address, static_cast<std::size_t>(bytes),
                                              cudaHostRegisterMapped | cudaHostRegisterPortable);
  if (status == cudaSuccess) return {};
  cudaGetLastError();
  return cudaGetErrorString(status);
}

void unregister_host_memory(void* address) noexcept {
  cudaHostUnregister(address);
}

}  // namespace memengine::cuda
