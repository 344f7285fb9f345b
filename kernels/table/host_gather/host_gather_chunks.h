// How a list of rows is dealt out between the GPU and the processor, and in chunks.
#pragma once

#include <cstdint>

#include "kernels/runtime/bfloat16.h"

namespace memengine {

inline constexpr std::int64_t gather_chunks = 16;

// Of `count` rows the GPU reads the first so many; the share is in parts of 1024.
MEMENGINE_HOST_DEVICE inline std::int64_t gather_split(std::int64_t count, std::int64_t share) {
  return count * share / 1024;
}

// Where chunk `chunk` of the processor's rows [split, count) begins; it ends where the next begins.
MEMENGINE_HOST_DEVICE inline std::int64_t gather_chunk_begin(std::int64_t split, std::int64_t count,
                                                             std::int64_t chunk) {
  return split + (count - split) * chunk / gather_chunks;
}

}  // namespace memengine
