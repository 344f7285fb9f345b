// Hopper's Tensor Memory Accelerator (TMA, the copy engine): boxes of a tensor to shared memory and
// back while the threads compute, and the barriers in shared memory that tell when bytes have
// arrived.
//
// A Barrier counts arrivals and bytes; when both are complete its phase flips. A waiter names the
// parity of the phase it waits for: 0 for the first, then 1, 0, ...
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/attention/hopper/wgmma.cuh"

namespace memengine::cuda::hopper {

struct Barrier {
  std::uint64_t state;

  // By one thread, before fence_barriers() and a __syncthreads().
  __device__ void create(int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(address()), "r"(arrivals));
  }
  // Its memory may be used anew.
  __device__ void destroy() {
    asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(address()) : "memory");
  }
  __device__ void arrive() {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(address()) : "memory");
  }
  // Arrives, and lets the phase wait for `bytes` of copies besides.
  __device__ void arrive_and_expect(int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(address()),
                 "r"(bytes)
                 : "memory");
  }
  __device__ void wait(int parity) {
    asm volatile(
        "{\n.reg .pred p;\nwaiting:\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
        "@p bra done;\nbra waiting;\ndone:\n}" ::"r"(address()),
        "r"(parity)
        : "memory");
  }
  __device__ std::uint32_t address() const { return shared_address(this); }
};

__device__ inline void fence_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// What this thread has written to shared memory becomes visible to TMA and tensor cores.
__device__ inline void publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Box (column, row, sequence) of a [B, T, width] tensor to shared memory; rows beyond T are zeros.
__device__ inline void load_box(void* shared, const CUtensorMap& map, int column, int row,
                                int sequence, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(shared_address(shared)),
      "l"(&map), "r"(column), "r"(row), "r"(sequence), "r"(barrier.address())
      : "memory");
}
// Plain bytes, a multiple of 16, aligned to 16.
__device__ inline void load_bytes(void* shared, const void* global, int bytes, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(shared)),
      "l"(global), "r"(bytes), "r"(barrier.address())
      : "memory");
}
__device__ inline void store_bytes(void* global, const void* shared, int bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(global),
               "r"(shared_address(shared)), "r"(bytes)
               : "memory");
}
// global[i] += shared[i], FP32, done in the L2 cache.
__device__ inline void add_floats(float* global, const float* shared, int bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(global),
      "r"(shared_address(shared)), "r"(bytes)
      : "memory");
}
__device__ inline void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until TMA has read shared memory / has written global memory.
__device__ inline void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
__device__ inline void wait_stores_written() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

}  // namespace memengine::cuda::hopper
