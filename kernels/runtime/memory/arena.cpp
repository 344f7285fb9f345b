// The counting allocator. A planning arena counts from a made-up base address.
#include "kernels/runtime/memory/arena.h"

#include <algorithm>
#include <utility>

#include "kernels/runtime/memory/bytes_text.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/runtime/memory/host_memory.h"
#include "kernels/runtime/runtime.h"

namespace memengine {
namespace {

constexpr std::int64_t alignment = 256;
constexpr std::uintptr_t planning_base = 4096;

}  // namespace

Arena::Arena(Device device, std::int64_t bytes) : device_(device) {
  // Parts are aligned, so the last one ends at a multiple.
  capacity_ = bytes = std::max((bytes + alignment - 1) / alignment, std::int64_t{1}) * alignment;
  const HostMemory available = device == Device::cpu
                                   ? available_host_memory()
                                   : HostMemory{free_memory_bytes(device), "are free"};
  if (bytes <= available.bytes) base_ = allocate_memory(device, bytes);
  if (base_ == nullptr) {
    fail_input(
        "the plan needs {} of {} memory, {} {}: lower data.batch_size, data.seq_len or the model's "
        "size",
        bytes_text(bytes), device == Device::cuda ? "GPU" : "host", bytes_text(available.bytes),
        available.words);
  }
}

Arena::Arena(HostBlock block)
    : host_block_(std::move(block)), base_(host_block_.data()), capacity_(host_block_.bytes()) {}

Arena::~Arena() {
  release();
}

Arena::Arena(Arena&& other) noexcept {
  *this = std::move(other);
}

Arena& Arena::operator=(Arena&& other) noexcept {
  if (this != &other) {
    release();
    base_ = std::exchange(other.base_, nullptr);
    device_ = other.device_;
    capacity_ = std::exchange(other.capacity_, 0);
    used_ = std::exchange(other.used_, 0);
    peak_ = std::exchange(other.peak_, 0);
    host_block_ = std::move(other.host_block_);
    by_purpose_ = std::move(other.by_purpose_);
  }
  return *this;
}

Tensor Arena::allocate(const std::string& purpose, DType dtype,
                       std::initializer_list<std::int64_t> shape) {
  const std::int64_t bytes =
      (Tensor(nullptr, dtype, shape).bytes() + alignment - 1) / alignment * alignment;
  void* address = base_ == nullptr
                      ? reinterpret_cast<void*>(planning_base + static_cast<std::uintptr_t>(used_))
                      : static_cast<std::byte*>(base_) + used_;
  used_ += bytes;
  if (used_ > peak_) {
    by_purpose_[purpose] += used_ - peak_;
    peak_ = used_;
  }
  if (base_ != nullptr && used_ > capacity_) {
    fail_internal("an arena of {} bytes was planned, {} are asked for {}", capacity_, used_,
                  purpose);
  }
  return {address, dtype, shape};
}

void Arena::release() noexcept {
  if (host_block_.data() == nullptr) free_memory(device_, base_, capacity_);
  base_ = nullptr;
}

}  // namespace memengine
