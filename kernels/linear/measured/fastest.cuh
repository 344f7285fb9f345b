// Times ways to compute the same bytes, and compares what they give.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>

namespace memengine::cuda {

// The fastest of ways 0 .. count - 1 among those that leave the same `bytes` as way 0, or 0. `run`
// enqueues way i on the stream, reading and writing `result`, which is zero before the first run;
// false: this way does not work. 0 as well where the result is mostly zeros, which would prove
// nothing, where the stream is being recorded, or where there is no memory for two results.
std::size_t fastest_with_same_bits(cudaStream_t stream, std::size_t count, std::size_t bytes,
                                   const std::function<bool(std::size_t, void* result)>& run);

}  // namespace memengine::cuda
