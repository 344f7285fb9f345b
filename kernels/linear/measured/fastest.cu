// A way is run once for its result and then five times for its time, of which the median counts. To
// be taken it must be faster than the first by more than such a measurement varies.
#include "kernels/linear/measured/fastest.cuh"

#include <algorithm>
#include <array>

#include "kernels/runtime/cuda_check.h"

namespace memengine::cuda {
namespace {

constexpr int compared_by = 256;
constexpr float must_save = 0.02F;

// counts[0] += words that differ, counts[1] += words of `expected` that are not zero.
__global__ void __launch_bounds__(compared_by)
    compare_kernel(unsigned long long* counts, const unsigned* result, const unsigned* expected,
                   std::size_t words) {
  unsigned different = 0;
  unsigned filled = 0;
  for (std::size_t i = std::size_t{blockIdx.x} * compared_by + threadIdx.x; i < words;
       i += std::size_t{gridDim.x} * compared_by) {
    different += result[i] != expected[i];
    filled += expected[i] != 0;
  }
  different = __reduce_add_sync(0xffffffffU, different);
  filled = __reduce_add_sync(0xffffffffU, filled);
  if (threadIdx.x % 32 != 0) return;
  atomicAdd(counts, different);
  atomicAdd(counts + 1, filled);
}

struct Block {
  void* data = nullptr;
  explicit Block(std::size_t bytes) {
    if (cudaMalloc(&data, bytes) == cudaSuccess) return;
    data = nullptr;
    static_cast<void>(cudaGetLastError());
  }
  ~Block() { static_cast<void>(cudaFree(data)); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
};

struct Event {
  cudaEvent_t event = nullptr;
  Event() { MEMENGINE_CUDA_CHECK(cudaEventCreate(&event)); }
  ~Event() { static_cast<void>(cudaEventDestroy(event)); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

template <typename Run>
float median_ms(cudaStream_t stream, const Run& run) {
  const Event before;
  const Event after;
  std::array<float, 5> ms{};
  for (float& one : ms) {
    MEMENGINE_CUDA_CHECK(cudaEventRecord(before.event, stream));
    run();
    MEMENGINE_CUDA_CHECK(cudaEventRecord(after.event, stream));
    MEMENGINE_CUDA_CHECK(cudaEventSynchronize(after.event));
    MEMENGINE_CUDA_CHECK(cudaEventElapsedTime(&one, before.event, after.event));
  }
  std::sort(ms.begin(), ms.end());
  return ms[ms.size() / 2];
}

}  // namespace

std::size_t fastest_with_same_bits(cudaStream_t stream, std::size_t count, std::size_t bytes,
                                   const std::function<bool(std::size_t, void* result)>& run) {
  cudaStreamCaptureStatus recording = cudaStreamCaptureStatusNone;
  MEMENGINE_CUDA_CHECK(cudaStreamIsCapturing(stream, &recording));
  if (recording != cudaStreamCaptureStatusNone) return 0;
  const std::size_t words = bytes / sizeof(unsigned);
  const Block expected(words * sizeof(unsigned));
  const Block result(words * sizeof(unsigned));
  const Block counts_block(2 * sizeof(unsigned long long));
  if (expected.data == nullptr || result.data == nullptr || counts_block.data == nullptr) return 0;
  auto* counts = static_cast<unsigned long long*>(counts_block.data);

  std::size_t best = 0;
  float best_ms = 0;
  for (std::size_t i = 0; i < count; ++i) {
    void* const to = i == 0 ? expected.data : result.data;
    MEMENGINE_CUDA_CHECK(cudaMemsetAsync(to, 0, words * sizeof(unsigned), stream));
    MEMENGINE_CUDA_CHECK(cudaMemsetAsync(counts, 0, 2 * sizeof *counts, stream));
    if (!run(i, to)) {
      if (i == 0) return 0;
      continue;
    }
    compare_kernel<<<1024, compared_by, 0, stream>>>(counts, static_cast<const unsigned*>(to),
                                                     static_cast<const unsigned*>(expected.data),
                                                     words);
    MEMENGINE_LAUNCH_CHECK("fastest_with_same_bits");
    unsigned long long host[2] = {};
    MEMENGINE_CUDA_CHECK(
        cudaMemcpyAsync(host, counts, sizeof host, cudaMemcpyDeviceToHost, stream));
    MEMENGINE_CUDA_CHECK(cudaStreamSynchronize(stream));
    if (host[1] < words / 2) return 0;
    if (host[0] > 0) continue;
    // The first one's result has been read for the last time when all are compared: time on
    // another.
    const float ms = median_ms(stream, [&] { run(i, result.data); });
    if (i == 0 || ms < best_ms) {
      if (i == 0)
        best_ms = ms * (1 - must_save);
      else
        best = i, best_ms = ms;
    }
  }
  return best;
}

}  // namespace memengine::cuda
