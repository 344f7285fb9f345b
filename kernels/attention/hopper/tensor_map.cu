// Tells TMA, the copy engine, how a tensor lies in memory. The encoder is the driver's, fetched at
// run time, so that the program also starts on machines without one.
#include "kernels/attention/hopper/hopper.h"
#include "kernels/runtime/cuda_check.h"

#include <algorithm>

namespace memengine::cuda::hopper {
namespace {

using Encoder = decltype(&cuTensorMapEncodeTiled);

Encoder find_encoder() {
  void* function = nullptr;
  cudaDriverEntryPointQueryResult found{};
  MEMENGINE_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000,
                                                        cudaEnableDefault, &found));
  if (found != cudaDriverEntryPointSuccess) {
    fail_input("the CUDA driver has no cuTensorMapEncodeTiled: update it to 525 or newer");
  }
  return reinterpret_cast<Encoder>(function);
}

}  // namespace

bool can_run(DType dtype, std::int64_t dim) {
  static const bool is_hopper = [] {
    int device = 0, major = 0, minor = 0;
    MEMENGINE_CUDA_CHECK(cudaGetDevice(&device));
    MEMENGINE_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    MEMENGINE_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
    return major == 9 && minor == 0;
  }();
  return is_hopper && dtype == DType::bf16 && has_hopper_attention(dim);
}

int multiprocessors() {
  static const int count = [] {
    int device = 0, value = 0;
    MEMENGINE_CUDA_CHECK(cudaGetDevice(&device));
    MEMENGINE_CUDA_CHECK(cudaDeviceGetAttribute(&value, cudaDevAttrMultiProcessorCount, device));
    return value;
  }();
  return count;
}

int fitting_in_cache(std::int64_t bytes, int count) {
  constexpr std::int64_t cache_bytes = std::int64_t{32} << 20;  // of 50 MB
  return static_cast<int>(std::clamp<std::int64_t>(cache_bytes / bytes, 1, count));
}

CUtensorMap tensor_map(const bfloat16* tensor, int batch, int length, int width, int rows) {
  return tensor_map(tensor, batch, length, width, rows, std::int64_t{length} * width, width);
}

CUtensorMap tensor_map(const bfloat16* tensor, int batch, int length, int width, int rows,
                       std::int64_t sequence_distance, std::int64_t row_distance) {
  static const Encoder encode = find_encoder();
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(width), static_cast<cuuint64_t>(length),
                              static_cast<cuuint64_t>(batch)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(row_distance) * sizeof(bfloat16),
                                static_cast<cuuint64_t>(sequence_distance) * sizeof(bfloat16)};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(rows), 1};
  const cuuint32_t steps[] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<bfloat16*>(tensor), sizes,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    fail_internal("no tensor map for [{}, {}, {}] (driver error {})", batch, length, width,
                  static_cast<int>(result));
  }
  return map;
}

}  // namespace memengine::cuda::hopper
