// A bare gather of rows, to find out what the link gives to anyone; bare reads from the L2 cache.
#include "engine/bench/ceilings.h"
#include "kernels/runtime/cuda_check.h"

namespace memengine::bench::cuda {
namespace {

constexpr int threads = 256;
constexpr int in_flight = 4;  // independent loads of a thread
constexpr std::int64_t most_blocks = 4096;

__global__ void __launch_bounds__(threads)
    gather_kernel(uint4* __restrict__ out, const uint4* __restrict__ table,
                  const std::int32_t* __restrict__ rows, std::int64_t count,
                  std::int64_t row_chunks) {
  const std::int64_t chunks = count * row_chunks;
  const std::int64_t stride = std::int64_t{gridDim.x} * threads;
  for (std::int64_t first = std::int64_t{blockIdx.x} * threads + threadIdx.x; first < chunks;
       first += in_flight * stride) {
    uint4 part[in_flight];
#pragma unroll
    for (int i = 0; i < in_flight; ++i) {
      const std::int64_t chunk = first + i * stride;
      if (chunk >= chunks) continue;
      part[i] = table[rows[chunk / row_chunks] * row_chunks + chunk % row_chunks];
    }
#pragma unroll
    for (int i = 0; i < in_flight; ++i) {
      const std::int64_t chunk = first + i * stride;
      if (chunk < chunks) out[chunk] = part[i];
    }
  }
}

// A block reads tiles of 16 KiB, four pieces of 16 bytes per thread; in every round another block
// reads a tile, so that no L1 cache has it.
__global__ void __launch_bounds__(threads)
    read_kernel(float* __restrict__ out, const uint4* __restrict__ data, unsigned tiles,
                unsigned times) {
  unsigned sum = 0;
  for (unsigned i = blockIdx.x; i < tiles * times; i += gridDim.x) {
    const uint4* tile = data + std::size_t{i % tiles} * threads * in_flight + threadIdx.x;
    uint4 part[in_flight];
#pragma unroll
    for (int j = 0; j < in_flight; ++j) part[j] = __ldcg(tile + j * threads);
#pragma unroll
    for (int j = 0; j < in_flight; ++j) sum ^= part[j].x ^ part[j].y ^ part[j].z ^ part[j].w;
  }
  if (sum == 0x9e3779b9U) *out = 1;  // keeps the reads
}

}  // namespace

void read_repeatedly(const Context& context, float* out, const void* data, std::int64_t bytes,
                     int times) {
  read_kernel<<<1056, threads, 0, context.stream>>>(
      out, static_cast<const uint4*>(data),
      static_cast<unsigned>(bytes / (threads * in_flight * 16)), static_cast<unsigned>(times));
  MEMENGINE_LAUNCH_CHECK("read_repeatedly");
}

void plain_gather(const Context& context, void* out, const void* table, const std::int32_t* rows,
                  std::int64_t count, std::int64_t row_bytes) {
  if (count == 0) return;
  const std::int64_t row_chunks = row_bytes / 16;
  const std::int64_t wanted =
      (count * row_chunks + threads * in_flight - 1) / (threads * in_flight);
  const auto blocks = static_cast<unsigned>(wanted < most_blocks ? wanted : most_blocks);
  gather_kernel<<<blocks, threads, 0, context.stream>>>(
      static_cast<uint4*>(out), static_cast<const uint4*>(table), rows, count, row_chunks);
  MEMENGINE_LAUNCH_CHECK("plain_gather");
}

}  // namespace memengine::bench::cuda
