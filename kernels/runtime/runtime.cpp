// Device choice, the CPU's runtime, and dispatch of copies and fills.
#include "kernels/runtime/runtime.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "kernels/runtime/memory/host_memory.h"
#include "kernels/runtime/runtime_cuda.h"

namespace memengine {

Device choose_device(const std::string& wanted) {
  if (wanted == "cpu") return Device::cpu;
  if (wanted != "auto" && wanted != "cuda") {
    fail_input("device: '{}' is not a device: choose auto, cpu or cuda", wanted);
  }
  std::string reason = "this build has no CUDA: install a CUDA toolkit and build again";
  if constexpr (cuda_build) {
    reason = cuda::why_unusable();
    if (reason.empty()) {
      const std::string no_code = cuda::why_no_code();
      if (!no_code.empty()) fail_input("device: {}; or use device=cpu", no_code);
      return Device::cuda;
    }
  }
  if (wanted == "cuda") fail_input("device: cuda was asked for, but {}; or use device=cpu", reason);
  return Device::cpu;
}

std::int64_t free_memory_bytes(Device device) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::free_memory_bytes();
  }
  return available_host_memory().bytes;
}

std::string describe_device(Device device) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::describe_device();
  }
  const int threads = omp_get_max_threads();
  return fmt::format("CPU, {} thread{}", threads, threads == 1 ? "" : "s");
}

Runtime::Runtime(Device device, Communicator* communicator) {
  context_.device = device;
  context_.communicator = communicator != nullptr ? communicator : &alone_;
  if constexpr (cuda_build) {
    if (device == Device::cuda) {
      gemm_workspace_ = Arena(device, cuda::gemm_workspace_bytes);
      context_.gemm_workspace =
          gemm_workspace_.allocate("scratch", DType::u8, {cuda::gemm_workspace_bytes});
      cuda::open(context_);
    }
  }
  side_ = context_;
  side_.gemm_workspace = Tensor();  // two products at once in one workspace would overwrite it
  link_ = side_;
  if constexpr (cuda_build) {
    if (device == Device::cuda) {
      cuda::open_side(side_);
      cuda::open_side(link_);
    }
  }
}

Runtime::~Runtime() {
  if constexpr (cuda_build) {
    if (context_.on_cuda()) {
      cuda::close_lane(link_);
      cuda::close_lane(side_);
      cuda::close(context_);
    }
  }
}

void Runtime::reserve_scratch(std::int64_t bytes, std::int64_t side_bytes) {
  const auto reserve = [](Context& context, Arena& arena, std::int64_t size) {
    size = std::max<std::int64_t>(size, 256);
    arena = Arena();
    arena = Arena(context.device, size);
    context.scratch = arena.allocate("scratch", DType::u8, {size});
  };
  reserve(context_, scratch_, bytes);
  reserve(side_, side_scratch_, side_bytes);
}

void Runtime::synchronize() {
  if constexpr (cuda_build) {
    if (context_.on_cuda()) {
      cuda::synchronize(context_);
      cuda::synchronize(side_);
      cuda::synchronize(link_);
    }
  }
}

void wait_for(const Context& waiting, const Context& other) {
  if constexpr (cuda_build) {
    if (waiting.on_cuda()) cuda::wait_for(waiting, other);
  }
}

void copy_bytes(const Context& context, void* destination, const void* source, std::int64_t bytes) {
  if constexpr (cuda_build) {
    if (context.on_cuda()) {
      cuda::copy_bytes(context, destination, source, bytes);
      return;
    }
  }
  if (bytes == 0) return;  // of an empty tensor: memcpy forbids null even then
  std::memcpy(destination, source, static_cast<std::size_t>(bytes));
}

void fill_zero(const Context& context, Tensor tensor) {
  if constexpr (cuda_build) {
    if (context.on_cuda()) {
      cuda::fill_zero(context, tensor);
      return;
    }
  }
  std::memset(tensor.data(), 0, static_cast<std::size_t>(tensor.bytes()));
}

}  // namespace memengine
