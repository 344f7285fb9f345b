// What this device does at best, so that a run's speed can be told as a share of it.
#pragma once

#include "kernels/runtime/runtime.h"

namespace memengine {

// FLOP/s of the device's own library on one large matrix product in FP32 or, on a GPU, TF32 or
// BF16: the best of some rounds, measured now. Takes some milliseconds, and on a GPU 0.3 GiB that
// are free again afterwards. A model cannot be faster than its products, so model FLOP/s over this
// is a share that real work reaches in part only: "attained" of the run's lines. Sets the context's
// allow_tf32.
double measure_attainable_flops(Runtime& runtime, bool bf16, bool allow_tf32);

}  // namespace memengine
