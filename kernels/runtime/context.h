// What an op runs on: the device, its stream, its scratch memory and its communicator.
//
// Every op takes a `const Context&` first and enqueues its work on the context's stream; on the CPU
// the work is done when the op returns. Work on two streams uses two contexts. The context owns
// nothing; `Runtime` (runtime.h) does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/error.h"
#include "kernels/runtime/tensor.h"

struct CUstream_st;      // cudaStream_t
struct CUevent_st;       // cudaEvent_t
struct cublasLtContext;  // cublasLtHandle_t

namespace memengine {

class Communicator;

enum class Device : std::uint8_t { cpu, cuda };

inline constexpr bool cuda_build = MEMENGINE_HAS_CUDA;

struct Context {
  Device device = Device::cpu;
  CUstream_st* stream = nullptr;         // cuda only
  CUevent_st* marker = nullptr;          // cuda only: the stream's place in wait_for()
  cublasLtContext* cublaslt = nullptr;   // cuda only
  Tensor scratch;                        // u8 [bytes]; see Scratch
  Tensor gemm_workspace;                 // u8 [bytes], cuda only: handed to cuBLASLt
  Communicator* communicator = nullptr;  // never null in a Runtime's context
  std::int64_t block_shared_bytes = 0;   // cuda only: most shared memory that a block may have
  bool allow_tf32 = false;               // FP32 matrix products may use TF32 tensor cores
  bool sums_in_double = false;           // FP32 products and attention add up in double

  bool on_cuda() const { return device == Device::cuda; }
};

// Hands out parts of the context's scratch memory for the length of one op call.
//
// The memory is free again as soon as the op's work on the stream is done, because the next op on
// the same stream comes after it. Each op that needs scratch publishes `<op>_scratch_bytes`, and
// the model sizes the scratch to the largest before the first step. Parts are 256-byte aligned.
class Scratch {
 public:
  explicit Scratch(const Context& context) : context_(context) {}

  template <typename T>
  T* take(std::int64_t count) {
    return static_cast<T*>(take_bytes(count * static_cast<std::int64_t>(sizeof(T))));
  }
  void* take_bytes(std::int64_t bytes) {
    const std::int64_t first = used_;
    used_ += (bytes + 255) / 256 * 256;
    const std::int64_t capacity = context_.scratch.empty() ? 0 : context_.scratch.bytes();
    if (used_ > capacity) {
      fail_internal("an op needs {} bytes of scratch memory, {} are planned", used_, capacity);
    }
    return static_cast<std::byte*>(context_.scratch.data()) + first;
  }

 private:
  const Context& context_;
  std::int64_t used_ = 0;
};

// Bytes that `Scratch` uses for `count` elements of T, for the `<op>_scratch_bytes` functions.
template <typename T>
constexpr std::int64_t scratch_part(std::int64_t count) {
  return (count * static_cast<std::int64_t>(sizeof(T)) + 255) / 256 * 256;
}

}  // namespace memengine
