// Hopper's warpgroup products (wgmma, sm_90a only): 128 threads multiply a 64 x k tile A with a
// k x N tile B and add to 64 x N sums in registers. BF16 operands, FP32 sums, k = 16 an
// instruction.
//
// The products run in the background: between wgmma_begin() and wgmma_wait(), sums and register
// operands belong to the tensor cores. wgmma_commit() ends a group; wgmma_wait<n> returns when at
// most n groups are still under way, and takes the sums that the caller reads next, so that the
// compiler cannot read them earlier.
//
// Operands in shared memory are tiles of rows of 64 BF16 = 128 bytes, in TMA's 128-byte
// swizzle: the 16-byte chunk c of row r lies at chunk c ^ (r % 8). Eight rows are an atom of 1024
// bytes, to which tiles are aligned. A tile can be read two ways:
//     rows_by_k     row = row of A or column of B, k along the row    (S = K Q^T reads Q so)
//     k_by_columns  row = k, along it the rows of A or columns of B   (dV = P^T dO reads dO so)
//
// Sums and A in registers: warp w of the group has rows 16 w .. 16 w + 15; lane l has, for each 8
// columns, C(l/4, 2(l%4)), C(l/4, 2(l%4) + 1), and the same of row l/4 + 8. Two neighbouring column
// blocks, rounded to BF16, are the A operand of one instruction.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace memengine::cuda::hopper {

constexpr int row_bytes = 128;                 // 64 BF16
constexpr int step_bytes_rows_by_k = 32;       // from one k = 16 to the next
constexpr int step_bytes_k_by_columns = 2048;  // the same

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// The descriptor of an operand that starts at `address` in shared memory. Atoms of eight rows lie
// 1024 bytes apart; the other stride is not used, as no operand is wider than one atom.
__device__ inline std::uint64_t operand(std::uint32_t address) {
  constexpr std::uint64_t atom = 1024 / 16;
  constexpr std::uint64_t swizzle_128_bytes = std::uint64_t{1} << 62;
  return (address & 0x3ffffU) / 16 | atom << 16 | atom << 32 | swizzle_128_bytes;
}

__device__ inline void wgmma_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int size>
__device__ inline void touch(float (&sums)[size]) {
#pragma unroll
  for (int i = 0; i < size; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}
template <int pending, int... sizes>
__device__ inline void wgmma_wait(float (&... sums)[sizes]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
  (touch(sums), ...);
}

template <int boxes, int size>
__device__ inline void touch_all(float (&sums)[boxes][size]) {
#pragma unroll
  for (int box = 0; box < boxes; ++box) touch(sums[box]);
}
// As wgmma_wait above, for the sums of several boxes of columns.
template <int pending, int boxes, int size>
__device__ inline void wgmma_wait(float (&sums)[boxes][size]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
  touch_all(sums);
}

#define MEMENGINE_SUMS_8(c, i)                                                                \
  "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), \
      "+f"(c[i + 6]), "+f"(c[i + 7])
#define MEMENGINE_SUMS_32(c, i)                                                    \
  MEMENGINE_SUMS_8(c, i), MEMENGINE_SUMS_8(c, i + 8), MEMENGINE_SUMS_8(c, i + 16), \
      MEMENGINE_SUMS_8(c, i + 24)
#define MEMENGINE_SUMS_16(c, i) MEMENGINE_SUMS_8(c, i), MEMENGINE_SUMS_8(c, i + 8)
#define MEMENGINE_NAMES_16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define MEMENGINE_NAMES_32                                                                     \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24," \
  "%25,%26,%27,%28,%29,%30,%31"
#define MEMENGINE_NAMES_64                                                                        \
  MEMENGINE_NAMES_32                                                                              \
  ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54," \
  "%55,%56,%57,%58,%59,%60,%61,%62,%63"

// c [64, 128] = or += A B, both in shared memory, rows_by_k.
__device__ inline void wgmma_64x128(float (&c)[64], std::uint64_t a, std::uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" MEMENGINE_NAMES_64
      "}, %64, %65, p, 1, 1, 0, 0;\n}"
      : MEMENGINE_SUMS_32(c, 0), MEMENGINE_SUMS_32(c, 32)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// c [64, 64] = or += A B, both in shared memory, rows_by_k.
__device__ inline void wgmma_64x64_rows_by_k(float (&c)[32], std::uint64_t a, std::uint64_t b,
                                             bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MEMENGINE_NAMES_32
      "}, %32, %33, p, 1, 1, 0, 0;\n}"
      : MEMENGINE_SUMS_32(c, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// c [64, 32] = or += A B, both in shared memory, k_by_columns: the first 32 of the columns.
__device__ inline void wgmma_64xn(float (&c)[16], std::uint64_t a, std::uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" MEMENGINE_NAMES_16
      "}, %16, %17, p, 1, 1, 1, 1;\n}"
      : MEMENGINE_SUMS_16(c, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// c [64, 32] += A B, A in registers, B in shared memory, k_by_columns.
__device__ inline void wgmma_64xn(float (&c)[16], const std::uint32_t* a, std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 {" MEMENGINE_NAMES_16
               "}, {%16,%17,%18,%19}, %20, 1, 1, 1, 1;\n"
               : MEMENGINE_SUMS_16(c, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// c [64, 64] = or += A B, both in shared memory, k_by_columns.
__device__ inline void wgmma_64xn(float (&c)[32], std::uint64_t a, std::uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MEMENGINE_NAMES_32
      "}, %32, %33, p, 1, 1, 1, 1;\n}"
      : MEMENGINE_SUMS_32(c, 0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}

// c [64, 64] += A B, A in registers, B in shared memory, k_by_columns.
__device__ inline void wgmma_64xn(float (&c)[32], const std::uint32_t* a, std::uint64_t b) {
  asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" MEMENGINE_NAMES_32
               "}, {%32,%33,%34,%35}, %36, 1, 1, 1, 1;\n"
               : MEMENGINE_SUMS_32(c, 0)
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

#undef MEMENGINE_SUMS_8
#undef MEMENGINE_SUMS_16
#undef MEMENGINE_SUMS_32
#undef MEMENGINE_NAMES_16
#undef MEMENGINE_NAMES_32
#undef MEMENGINE_NAMES_64

// Registers a thread of this warpgroup may use from here on: the copying warps give theirs up.
template <int registers>
__device__ inline void give_up_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

// Four 8x8 tiles of BF16 to shared memory; lane l gives the address of row l % 8 of tile l / 8.
__device__ inline void store_matrix(std::uint32_t address, const std::uint32_t* r) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address),
               "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
               : "memory");
}

// Waits until `threads` threads have come to barrier `id` (0 is __syncthreads).
__device__ inline void named_barrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace memengine::cuda::hopper
