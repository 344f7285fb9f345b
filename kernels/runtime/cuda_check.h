// Every CUDA call and every launch is checked; an error names the op.
//
// For .cu files only.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include "kernels/runtime/error.h"

// Throws an internal Error when a CUDA runtime call fails.
#define MEMENGINE_CUDA_CHECK(call)                                                             \
  do {                                                                                         \
    const cudaError_t status_ = (call);                                                        \
    if (status_ != cudaSuccess) {                                                              \
      ::memengine::fail_internal("CUDA: {} ({}) at {}:{}", cudaGetErrorString(status_), #call, \
                                 __FILE__, __LINE__);                                          \
    }                                                                                          \
  } while (false)

// Throws an internal Error when the launch just made was refused. `op` is its name.
#define MEMENGINE_LAUNCH_CHECK(op)                                    \
  do {                                                                \
    const cudaError_t status_ = cudaGetLastError();                   \
    if (status_ != cudaSuccess) {                                     \
      ::memengine::fail_internal("CUDA: {} could not launch: {}", op, \
                                 cudaGetErrorString(status_));        \
    }                                                                 \
  } while (false)

// Throws an internal Error when a cuBLASLt call fails.
#define MEMENGINE_CUBLAS_CHECK(call)                                                           \
  do {                                                                                         \
    const cublasStatus_t status_ = (call);                                                     \
    if (status_ != CUBLAS_STATUS_SUCCESS) {                                                    \
      ::memengine::fail_internal("cuBLASLt: {} ({}) at {}:{}", cublasGetStatusString(status_), \
                                 #call, __FILE__, __LINE__);                                   \
    }                                                                                          \
  } while (false)
