// A value table as kernels see it, and how many blocks work on one. A table in device memory wants
// every multiprocessor; for a table in mapped host memory a few saturate the link (four were enough
// where it was measured), and the rest stay free for kernels on other streams.
#pragma once

#include "kernels/device_math.cuh"
#include "kernels/table/value_rows.h"

namespace memengine::cuda {

inline constexpr int table_threads = 512;
inline constexpr int host_table_blocks = 32;   // two on each of 16 multiprocessors
inline constexpr int device_table_blocks = 4;  // on each multiprocessor

// Copies over the link in both directions (staged_rows.cu) that run beside other kernels for a long
// time take multiprocessors from them.
inline constexpr int link_copy_blocks = 4;  // one on each of four multiprocessors
inline constexpr int link_copy_threads = 1024;

inline unsigned table_blocks(const void* table) {
  cudaPointerAttributes attributes{};
  MEMENGINE_CUDA_CHECK(cudaPointerGetAttributes(&attributes, table));
  if (attributes.type == cudaMemoryTypeHost) return host_table_blocks;
  int device = 0;
  int multiprocessors = 0;
  MEMENGINE_CUDA_CHECK(cudaGetDevice(&device));
  MEMENGINE_CUDA_CHECK(
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
  return static_cast<unsigned>(multiprocessors * device_table_blocks);
}

// ValueRows with its layout worked out.
struct Table {
  std::uint16_t* hi;
  std::byte* records;
  std::int64_t rows;
  std::int64_t record_bytes;
  std::int64_t m_offset;
  std::int64_t v_offset;
  std::int64_t step_offset;
  int v_dim;
  int rank;
  int ranks;

  __device__ std::int64_t row_of(std::int64_t place) const { return place * ranks + rank; }
};

inline Table table_of(const ValueRows& rows) {
  const RecordLayout& layout = rows.layout;
  return {.hi = rows.hi,
          .records = rows.records,
          .rows = rows.rows,
          .record_bytes = layout.bytes(),
          .m_offset = layout.m_offset(),
          .v_offset = layout.v_offset(),
          .step_offset = layout.step_offset(),
          .v_dim = static_cast<int>(layout.v_dim),
          .rank = rows.owner.rank,
          .ranks = rows.owner.size};
}

// Threads that work on one row of `pieces` pieces: a power of two, at most a warp.
inline int row_team(std::int64_t pieces) {
  int team = 1;
  while (team < warp_size && team < pieces) team *= 2;
  return team;
}

}  // namespace memengine::cuda
