// How a row of `channels` elements is spread over a team of threads that keeps it in registers:
// member m holds, of each chunk, the `width` elements from column (chunk * team + m) * width on.
#pragma once

#include "kernels/device_math.cuh"

namespace memengine::cuda {

// body(chunk, column) for every chunk of which this member has elements.
template <int width, int team, int chunks, typename Body>
__device__ __forceinline__ void for_each_chunk(int member, int channels, Body&& body) {
#pragma unroll
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int column = (chunk * team + member) * width;
    if (column < channels) body(chunk, column);
  }
}

}  // namespace memengine::cuda
