// Device memory for measurements, filled with something worth measuring.
//
// Inputs are random and nowhere zero: zeros switch fewer transistors, and a GPU runs products of
// them faster than it ever runs in earnest.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "engine/bench/timing.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/runtime/runtime.h"
#include "kernels/table/deduplicate.h"

namespace memengine::bench {

class Workbench {
 public:
  explicit Workbench(Runtime& runtime, const TimingOptions& timing)
      : runtime_(runtime), timing_(timing) {}

  Runtime& runtime() { return runtime_; }
  const Context& context() { return runtime_.context(); }

  // Tensors on the device that live until clear(). Input error when there is no memory for them.
  Tensor zeros(DType dtype, std::initializer_list<std::int64_t> shape);
  // Normal deviates, f32, f64 or bf16. (A block of a million of them, again and again.)
  Tensor normal(DType dtype, std::initializer_list<std::int64_t> shape, double deviation = 1);
  Tensor integers(const std::vector<std::int32_t>& values);  // i32 [values.size()]
  void clear() { arenas_.clear(); }

  // Makes the scratch at least this large.
  void reserve_scratch(std::int64_t bytes);

  // Seconds of `body` (timing.h).
  double seconds(const std::function<void()>& body, bool recordable = true) {
    return median_seconds(runtime_, timing_, body, recordable);
  }

 private:
  Runtime& runtime_;
  TimingOptions timing_;
  std::vector<std::unique_ptr<Arena>> arenas_;
};

// How a memory layer's picks fall on the rows.
enum class PickPattern {
  uniform,  // every row alike: the worst case, as at the first step
  skewed,   // row number r of a hidden order with density r^-1.35: some 4% of the picks distinct
};

const char* pattern_name(PickPattern pattern);

// `count` picks of 0 .. rows - 1, the same for the same seed. rows < 2^31.
std::vector<std::int32_t> random_picks(PickPattern pattern, std::int64_t count, std::int64_t rows,
                                       std::uint64_t seed);

// Memory for the de-duplication of `picks` picks (kernels/table/deduplicate.h), and the number of
// distinct rows after it has run; waits for the device.
UniqueRows allocate_unique(Workbench& bench, std::int64_t picks, std::int64_t rows);
std::int64_t unique_count(Workbench& bench, const UniqueRows& unique);

}  // namespace memengine::bench
