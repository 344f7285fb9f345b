// Statistics on the CPU: threads take chunks of a fixed size, whose parts are merged in order, so
// that the result does not depend on the number of threads.
#include "kernels/statistics/statistics.h"

#include <algorithm>
#include <cmath>

#include "kernels/dispatch.h"

namespace memengine {
namespace {

constexpr std::int64_t part_elements = 4096;

constexpr std::int64_t part_count(std::int64_t elements) {
  return std::max<std::int64_t>((elements + part_elements - 1) / part_elements, 1);
}

struct Part {
  double sum = 0, squares = 0, largest = 0, zeros = 0;

  void add(double value) { merge({value, value * value, std::abs(value), value == 0 ? 1.0 : 0.0}); }
  void merge(const Part& other) {
    sum += other.sum;
    squares += other.squares;
    // A NaN comes in and stays.
    if (largest == largest && !(other.largest <= largest)) largest = other.largest;
    zeros += other.zeros;
  }
};

// value(i) -> double, for i < count.
template <typename Value>
void reduce(const Context& context, Tensor out, std::int64_t count, Value value) {
  const std::int64_t chunks = part_count(count);
  Part* parts = Scratch(context).take<Part>(chunks);
#pragma omp parallel for schedule(static)
  for (std::int64_t c = 0; c < chunks; ++c) {
    Part part;
    for (std::int64_t i = c * part_elements; i < std::min(count, (c + 1) * part_elements); ++i)
      part.add(value(i));
    parts[c] = part;
  }
  Part total;
  for (std::int64_t c = 0; c < chunks; ++c) total.merge(parts[c]);
  auto* numbers = out.as<double>();
  numbers[0] = total.sum;
  numbers[1] = total.squares;
  numbers[2] = total.largest;
  numbers[3] = total.zeros;
}

}  // namespace

void statistics(const Context& context, Tensor out, Tensor x) {
  MEMENGINE_ON_CUDA(context, cuda::statistics(context, out, x));
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const T* elements = x.as<T>();
    reduce(context, out, x.size(),
           [=](std::int64_t i) { return static_cast<double>(elements[i]); });
  });
}

void entropy_statistics(const Context& context, Tensor out, Tensor p) {
  MEMENGINE_ON_CUDA(context, cuda::entropy_statistics(context, out, p));
  dispatch_floating(p.dtype(), [&]<typename T>() {
    const T* elements = p.as<T>();
    const std::int64_t columns = p.size() / p.dim(0);
    reduce(context, out, p.dim(0), [=](std::int64_t row) {
      double entropy = 0;
      for (std::int64_t i = row * columns; i < (row + 1) * columns; ++i) {
        const auto value = static_cast<double>(elements[i]);
        if (value != 0) entropy -= value * std::log(value);
      }
      return entropy;
    });
  });
}

std::int64_t statistics_scratch_bytes(Device device, std::int64_t elements) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::statistics_scratch_bytes(elements);
  }
  return scratch_part<Part>(part_count(elements));
}

}  // namespace memengine
