// Memory of the CPU device, and large host blocks for value tables.
#include "kernels/runtime/memory/device_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "kernels/runtime/memory/bytes_text.h"
#include "kernels/runtime/memory/host_memory.h"

namespace memengine {

void* allocate_memory(Device device, std::int64_t bytes) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::allocate_memory(bytes);
  }
  void* address = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) return nullptr;
  // Pages of 2 MiB where the system has them: the processor's prefetchers stop at the end of a
  // page, and weights in pages of 4 KiB are read at half the memory's rate. No matter when refused.
  madvise(address, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  return address;
}

void free_memory(Device device, void* address, std::int64_t bytes) noexcept {
  if (address == nullptr) return;
  if constexpr (cuda_build) {
    if (device == Device::cuda) {
      cuda::free_memory(address);
      return;
    }
  }
  munmap(address, static_cast<std::size_t>(bytes));
}

void* allocate_pinned(std::size_t bytes) {
  if constexpr (cuda_build) return cuda::allocate_pinned(bytes);
  fail_internal("{} bytes of page-locked memory were asked for in a build without CUDA", bytes);
}

void free_pinned(void* address) {
  if constexpr (cuda_build) cuda::free_pinned(address);
}

HostBlock::HostBlock(std::int64_t bytes, bool pinned, const std::string& purpose)
    : bytes_(bytes), pinned_(pinned) {
  const HostMemory available = available_host_memory();
  const auto shrink = [bytes](std::int64_t most) {  // rows are the square of the keys
    return std::sqrt(static_cast<double>(bytes) /
                     static_cast<double>(std::max<std::int64_t>(most, 1)));
  };
  if (bytes > available.bytes) {
    fail_input(
        "{} needs {} of host memory, {} {}: lower model.productkey_args.mem_n_keys, by a factor of "
        "{:.2f} at least",
        purpose, bytes_text(bytes), bytes_text(available.bytes), available.words,
        shrink(available.bytes));
  }
  void* address = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    fail_input(
        "{} needs {} of host memory and the system refuses it ({} {}): lower "
        "model.productkey_args.mem_n_keys",
        purpose, bytes_text(bytes), bytes_text(available.bytes), available.words);
  }
  data_ = static_cast<std::byte*>(address);
  madvise(address, static_cast<std::size_t>(bytes), MADV_HUGEPAGE);
  constexpr std::int64_t page = 4096;
#pragma omp parallel for schedule(static)
  for (std::int64_t offset = 0; offset < bytes; offset += page) {
    data_[offset] = std::byte{0};
  }
  if constexpr (cuda_build) {
    if (pinned_) {
      const std::string refusal = cuda::register_host_memory(data_, bytes);
      if (!refusal.empty()) {
        pinned_ = false;
        release();
        // Drivers of version 580 keep 16 bytes a page in one block of at most 2 GiB.
        constexpr std::int64_t most_at_once = std::int64_t{1} << 39;
        fail_input(
            "{}: the GPU's driver does not page-lock {} of host memory ({}; {} {}): lower "
            "model.productkey_args.mem_n_keys{}",
            purpose, bytes_text(bytes), refusal, bytes_text(available.bytes), available.words,
            bytes < most_at_once
                ? ""
                : format_text(", by a factor of {:.2f} at least: drivers from version 580 on lock "
                              "less than 512 GiB at once",
                              shrink(most_at_once - 1)));
      }
    }
  }
}

HostBlock::~HostBlock() {
  release();
}

HostBlock::HostBlock(HostBlock&& other) noexcept {
  *this = std::move(other);
}

HostBlock& HostBlock::operator=(HostBlock&& other) noexcept {
  if (this != &other) {
    release();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    pinned_ = std::exchange(other.pinned_, false);
  }
  return *this;
}

void HostBlock::release() noexcept {
  if (data_ == nullptr) return;
  if constexpr (cuda_build) {
    if (pinned_) cuda::unregister_host_memory(data_);
  }
  munmap(data_, static_cast<std::size_t>(bytes_));
  data_ = nullptr;
}

}  // namespace memengine
