// Sums over whole tensors on the CPU, in double.
//
// The tensor is cut into chunks of a fixed size, threads sum chunks, and the chunks' sums are added
// in order: the result does not depend on the number of threads.
#include "kernels/reduce.h"

#include <algorithm>

#include "kernels/dispatch.h"

namespace memengine {
namespace {

constexpr std::int64_t chunk = 16384;  // elements

constexpr std::int64_t chunk_count(std::int64_t elements) {
  return (elements + chunk - 1) / chunk;
}

// term(T) -> double
template <typename T, typename Term>
double chunked_sum(const Context& context, const T* x, std::int64_t count, Term term) {
  const std::int64_t chunks = chunk_count(count);
  double* partial = Scratch(context).take<double>(chunks);
#pragma omp parallel for
  for (std::int64_t c = 0; c < chunks; ++c) {
    const std::int64_t last = std::min(count, (c + 1) * chunk);
    double total = 0;
#pragma omp simd reduction(+ : total)
    for (std::int64_t i = c * chunk; i < last; ++i) total += term(static_cast<double>(x[i]));
    partial[c] = total;
  }
  double total = 0;
  for (std::int64_t c = 0; c < chunks; ++c) total += partial[c];
  return total;
}

constexpr auto square = [](double value) { return value * value; };

}  // namespace

void sum(const Context& context, Tensor out, Tensor x, double scale) {
  MEMENGINE_ON_CUDA(context, cuda::sum(context, out, x, scale));
  dispatch_floating(x.dtype(), [&]<typename T>() {
    const auto same = [](double value) { return value; };
    out.as<double>()[0] = scale * chunked_sum(context, x.as<T>(), x.size(), same);
  });
}

void square_sum(const Context& context, Tensor out, Tensor x) {
  MEMENGINE_ON_CUDA(context, cuda::square_sum(context, out, x));
  dispatch_floating(x.dtype(), [&]<typename T>() {
    out.as<double>()[0] = chunked_sum(context, x.as<T>(), x.size(), square);
  });
}

void square_sum_rows(const Context& context, Tensor out, Tensor x, Tensor count) {
  MEMENGINE_ON_CUDA(context, cuda::square_sum_rows(context, out, x, count));
  const std::int64_t rows = count.as<std::int32_t>()[0];
  dispatch_floating(x.dtype(), [&]<typename T>() {
    out.as<double>()[0] = chunked_sum(context, x.as<T>(), rows * x.dim(1), square);
  });
}

std::int64_t reduce_scratch_bytes(Device device, std::int64_t elements) {
  if constexpr (cuda_build) {
    if (device == Device::cuda) return cuda::reduce_scratch_bytes(elements);
  }
  return scratch_part<double>(chunk_count(elements));
}

}  // namespace memengine
