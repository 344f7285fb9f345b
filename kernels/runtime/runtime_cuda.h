// The CUDA half of runtime.h, for runtime.cpp, and for ops that need streams of their own.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/runtime/context.h"

namespace memengine::cuda {

inline constexpr std::int64_t gemm_workspace_bytes = std::int64_t{32} << 20;

std::string why_unusable();  // empty when a GPU can be used
std::string why_no_code();   // empty when this program holds code for the GPU (gpu_code.h)
std::int64_t free_memory_bytes();
std::string describe_device();
void open(Context& context);    // creates the stream, its marker and the cuBLASLt handle
void open_side(Context& side);  // a stream and a marker of its own; keeps the handle
void open_lane(Context& lane);  // a stream and its marker, of ordinary priority; nothing else
void close_lane(Context& lane) noexcept;  // of a lane or a side; waits for its work
void close(Context& context) noexcept;    // waits for its work
void wait_for(const Context& waiting, const Context& other);
void synchronize(const Context& context);
void copy_bytes(const Context& context, void* destination, const void* source, std::int64_t bytes);
void fill_zero(const Context& context, Tensor tensor);

}  // namespace memengine::cuda
