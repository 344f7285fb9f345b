// How an op finds its implementation.
//
// Each op is one free function. Its contract is in `<op>.h`; `<op>.cpp` defines it: on a CUDA
// context it forwards to the function of the same name in namespace `cuda` (in `<op>.cu`),
// otherwise it runs the CPU reference, a template over float and double picked by the tensors'
// dtype:
//
//     void scale(const Context& context, Tensor x, double factor) {
//       MEMENGINE_ON_CUDA(context, cuda::scale(context, x, factor));
//       dispatch_floating(x.dtype(), [&]<typename T>() { scale_cpu(x.as<T>(), ...); });
//     }
//
// The header declares the CUDA twin with the same type:
//
//     namespace cuda { decltype(memengine::scale) scale; }
#pragma once

#include "kernels/runtime/context.h"
#include "kernels/runtime/error.h"
#include "kernels/runtime/tensor.h"

// Returns from the enclosing op after `call` when the context is a CUDA one. Builds without CUDA
// keep no reference to the twin.
#define MEMENGINE_ON_CUDA(context, call)     \
  do {                                       \
    if constexpr (::memengine::cuda_build) { \
      if ((context).on_cuda()) {             \
        call;                                \
        return;                              \
      }                                      \
    }                                        \
  } while (false)

namespace memengine {

// Calls body.template operator()<T>() with T = float or double. The CPU reference has no BF16
// arithmetic: a BF16 tensor here is an internal error.
template <typename Body>
void dispatch_floating(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      body.template operator()<float>();
      return;
    case DType::f64:
      body.template operator()<double>();
      return;
    default:
      fail_internal("the CPU reference computes in f32 or f64, not {}", dtype_name(dtype));
  }
}

}  // namespace memengine
