// Raw memory of each device, for arenas and value tables; everything else takes views.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/runtime/context.h"

namespace memengine {

// Zero-filled, 256-byte aligned. Returns nullptr when the memory is not there.
void* allocate_memory(Device device, std::int64_t bytes);
void free_memory(Device device, void* address, std::int64_t bytes) noexcept;

// Small page-locked host buffers that the GPU copies from and to without making the host wait. CUDA
// builds only.
void* allocate_pinned(std::size_t bytes);
void free_pinned(void* address);

// Host memory of many gigabytes for a value table: pages are touched by all threads at once (one
// thread alone faults 4 GB/s), then page-locked and mapped for the GPU when `pinned`. Zero-filled.
// Errors: input, when it cannot be had or locked: what was asked, what there is, which key to
// lower.
class HostBlock {
 public:
  HostBlock() = default;
  HostBlock(std::int64_t bytes, bool pinned, const std::string& purpose);
  ~HostBlock();
  HostBlock(HostBlock&& other) noexcept;
  HostBlock& operator=(HostBlock&& other) noexcept;

  std::byte* data() const { return data_; }
  std::int64_t bytes() const { return bytes_; }

 private:
  void release() noexcept;

  std::byte* data_ = nullptr;
  std::int64_t bytes_ = 0;
  bool pinned_ = false;
};

namespace cuda {
void* allocate_memory(std::int64_t bytes);
void free_memory(void* address) noexcept;
void* allocate_pinned(std::size_t bytes);
void free_pinned(void* address) noexcept;
// Page-locks and maps; returns an empty string or the driver's words.
std::string register_host_memory(void* address, std::int64_t bytes);
void unregister_host_memory(void* address) noexcept;
}  // namespace cuda

}  // namespace memengine
