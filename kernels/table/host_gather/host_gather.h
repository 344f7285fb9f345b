// Gathering rows of a host table with the processor's threads, instead of or beside the GPU's
// reads.
//
// For short rows in a huge table the GPU's own reads through mapped memory are limited by address
// translation, not by the link. The processor has no such limit: its threads gather the rows into
// page-locked buffers, which the GPU copies at the link's full rate. The list of rows is cut in
// chunks that go alternately through two buffers, so that one is filled while the other is copied.
// The first part of the list can be left to the GPU, which reads it at the same time. Whoever reads
// a row, its bits are the same. All of it is enqueued like a kernel: the host's part runs on a
// thread of the driver when the list is there, the caller waits for nothing, and a graph can record
// it.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/runtime/context.h"
#include "kernels/table/value_rows.h"

namespace memengine {

class HostGather {
 public:
  // Buffers for lists of up to `capacity` rows of v_dim BF16 numbers. On the CPU, where it exists
  // for the tests, the work is done when it is enqueued.
  HostGather(Device device, std::int64_t capacity, std::int64_t v_dim);
  ~HostGather();

  // Bytes of page-locked memory that an object takes.
  static std::int64_t planned_bytes(std::int64_t capacity, std::int64_t v_dim);

  // The share of the list that the GPU reads itself, 0 to 1; for what is enqueued from now on.
  void set_gpu_share(double share);

  // gather_rows() in BF16 precision without decay (value_rows.h), of rows [begin, count) of the
  // list. Several tables may take turns on one context.
  void gather(const Context& context, Tensor out, const ValueRows& table, const UniqueRows& unique,
              Tensor begin = {});

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

namespace cuda {
// The GPU's part of HostGather, and its two streams.
struct HostGatherList {
  std::int32_t* host;      // [2 + capacity] mapped: count, split, rows; from `begin` on
  std::int32_t* split;     // [1] device: the GPU reads rows [begin, split)
  std::int64_t gpu_share;  // of 1024
};
// Writes the list's numbers, and the rows that the processor reads.
void write_gather_list(const Context& context, const HostGatherList& list, const UniqueRows& unique,
                       Tensor begin);
void call_host(const Context& context, void (*function)(void*), void* argument);
// out rows of chunk `chunk` = the buffer's.
void unpack_gathered(const Context& context, Tensor out, const std::uint16_t* buffer,
                     const HostGatherList& list, const UniqueRows& unique, Tensor begin,
                     std::int64_t chunk);
}  // namespace cuda

}  // namespace memengine
