// Static memory: one block a purpose, sized before step 1, handed out by counting.
//
// An Arena starts by planning: allocate() returns addresses that nothing stands behind and adds up
// bytes. Whatever will live in the arena is built once like that, the plan is printed or checked,
// and then the same construction runs again on an arena that owns the planned bytes. Constructors
// that use arenas therefore only compute addresses; they never touch the memory.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>

#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/device_memory.h"
#include "kernels/runtime/tensor.h"

namespace memengine {

class Arena {
 public:
  // A planning arena.
  Arena() = default;
  // An arena of `bytes` on the device, zero-filled. Errors: input, when the memory is not there.
  Arena(Device device, std::int64_t bytes);
  // An arena in a block of host memory.
  explicit Arena(HostBlock block);
  ~Arena();
  Arena(Arena&&) noexcept;
  Arena& operator=(Arena&&) noexcept;

  // A 256-byte aligned part; lives as long as the arena. `purpose` groups the printed plan:
  // "parameters", "gradients", "optimizer", "activations", "memory layers", "scratch".
  Tensor allocate(const std::string& purpose, DType dtype,
                  std::initializer_list<std::int64_t> shape);

  // Memory that does not outlive one layer's call is shared by all layers: remember the place
  // before a layer takes its part, and go back to it afterwards. The plan keeps the largest extent.
  std::int64_t mark() const { return used_; }
  void rewind(std::int64_t mark) { used_ = mark; }

  bool planning() const { return base_ == nullptr; }
  std::int64_t planned_bytes() const { return peak_; }
  const std::map<std::string, std::int64_t>& bytes_by_purpose() const { return by_purpose_; }

 private:
  void release() noexcept;

  HostBlock host_block_;
  void* base_ = nullptr;
  Device device_ = Device::cpu;
  std::int64_t capacity_ = 0;
  std::int64_t used_ = 0;
  std::int64_t peak_ = 0;
  std::map<std::string, std::int64_t> by_purpose_;
};

}  // namespace memengine
