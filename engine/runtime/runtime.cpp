// Device choice, the CPU's runtime, and dispatch of copies and fills.
#include "engine/runtime/runtime.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

#include "engine/runtime/runtime_cuda.h"

namespace memengine {
namespace {

// The number in `path`, or the largest number when there is none ("max", no such file).
std::int64_t read_number(const std::string& path) {
  std::ifstream file(path);
  std::int64_t number = 0;
  return file >> number ? number : std::numeric_limits<std::int64_t>::max();
}

// Bytes of a cgroup's memory.current that are cached files, which the kernel gives up on demand: a
// run that has just read shards or written a checkpoint fills its cgroup with them.
std::int64_t cached_file_bytes() {
  std::ifstream statistics("/sys/fs/cgroup/memory.stat");
  std::string key;
  std::int64_t bytes = 0;
  std::int64_t cached = 0;
  while (statistics >> key >> bytes) {
    if (key == "inactive_file" || key == "active_file") cached += bytes;
  }
  return cached;
}

std::int64_t available_host_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  std::string key;
  std::int64_t kilobytes = 0;
  std::string unit;
  std::int64_t available = std::numeric_limits<std::int64_t>::max();
  while (meminfo >> key >> kilobytes >> unit) {
    if (key == "MemAvailable:") available = kilobytes * 1024;
  }
  // A container's limit (cgroup v2) may be tighter than the machine.
  const std::int64_t limit = read_number("/sys/fs/cgroup/memory.max");
  if (limit != std::numeric_limits<std::int64_t>::max()) {
    const std::int64_t used = read_number("/sys/fs/cgroup/memory.current") - cached_file_bytes();
    available = std::min(available, limit - used);
  }
  return available;
}

}  // namespace

Device choose_device(const std::string& wanted) {
  if (wanted == "cpu") return Device::cpu;
  if (wanted != "auto" && wanted != "cuda") {
    fail_input("device: '{}' is not a device: choose auto, cpu or cuda", wanted);
  }
  std::string reason = "this build has no CUDA: install a CUDA toolkit and build again";
  if constexpr (cuda_build) {
    reason = cuda::why_unusable();
    if (reason.empty()) return Device::cuda;
  }
  if (wanted == "cuda") fail_input("device: cuda was asked for, but {}; or use device=cpu", reason);
  return Device::cpu;
}

std::int64_t free_memory_bytes(Device device) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::free_memory_bytes();
  }
  return available_host_bytes();
}

std::string describe_device(Device device) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::describe_device();
  }
  const int threads = omp_get_max_threads();
  return fmt::format("CPU, {} thread{}", threads, threads == 1 ? "" : "s");
}

Runtime::Runtime(Device device) {
  context_.device = device;
  context_.communicator = &communicator_;
  if constexpr (cuda_build) {
    if (device == Device::cuda) {
      gemm_workspace_ = Arena(device, cuda::gemm_workspace_bytes);
      context_.gemm_workspace =
          gemm_workspace_.allocate("scratch", DType::u8, {cuda::gemm_workspace_bytes});
      cuda::open(context_);
    }
  }
  side_ = context_;
  if constexpr (cuda_build) {
    if (device == Device::cuda) cuda::open_side(side_);
  }
}

Runtime::~Runtime() {
  if constexpr (cuda_build) {
    if (context_.on_cuda()) cuda::close(context_, side_);
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
