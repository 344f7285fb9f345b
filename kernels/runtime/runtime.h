// Owner of what a Context refers to: the stream, the library handles, the scratch memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"

namespace memengine {

// "auto" -> cuda when this build and this machine have it, else cpu. "cpu", "cuda" as asked.
// Errors: input, for another word, for "cuda" where the build or the machine has none, and for both
// "auto" and "cuda" where the machine has a GPU that this program was not compiled for.
Device choose_device(const std::string& wanted);

// Bytes free for a new allocation: GPU memory on cuda; on the CPU what host_memory.h finds.
std::int64_t free_memory_bytes(Device device);

// One line for logs: "CPU, 16 threads" or "NVIDIA H100 80GB HBM3, 79.6 GiB, CUDA 13.0".
std::string describe_device(Device device);

class Runtime {
 public:
  // `communicator` joins the ranks, and outlives the Runtime; null: this is the only one.
  explicit Runtime(Device device, Communicator* communicator = nullptr);
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  // The main stream's context. Stays valid as long as the Runtime.
  Context& context() { return context_; }

  // A second stream with scratch memory of its own, for work that may run beside the main stream's;
  // wait_for() puts the two in order. Matrix products on it do without a workspace, which is the
  // main stream's. On the CPU, work on it is done when it is enqueued.
  Context& side() { return side_; }

  // A third stream, without scratch memory, for long copies between host and device.
  Context& link() { return link_; }

  // Gives the contexts scratch memory of these sizes (replaces what they had).
  void reserve_scratch(std::int64_t bytes, std::int64_t side_bytes = 0);

  // Waits until everything enqueued on the streams is done.
  void synchronize();

 private:
  Communicator alone_;
  Context context_, side_, link_;
  Arena scratch_, side_scratch_;
  Arena gemm_workspace_;
};

// Work enqueued on `waiting` from now on starts after everything enqueued on `other` so far. While
// `other` is recorded into a graph, this takes `waiting` into the recording.
void wait_for(const Context& waiting, const Context& other);

// Copies `bytes` from one address to another, host or device, ordered on the context's stream. Host
// memory that is not page-locked makes the copy synchronous.
void copy_bytes(const Context& context, void* destination, const void* source, std::int64_t bytes);

// Fills the tensor with zero bytes, ordered on the context's stream.
void fill_zero(const Context& context, Tensor tensor);

}  // namespace memengine
