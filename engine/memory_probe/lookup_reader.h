// What the memory layers look up, pass by pass: each token's picks and their weights.
//
// While the device computes a pass, the host looks at the one before: a layer's picks are copied to
// page-locked host memory as soon as they are there, in one of two sets of buffers. So a corpus of
// any length takes 2 L N H knn (4 + 2) bytes of host memory and the time of a forward pass without
// its head, or that of looking at the picks, whichever is longer.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/inference/inference_model.h"
#include "kernels/runtime/memory/device_memory.h"

namespace memengine {

// Floating-point numbers as the device computes in: f32, bf16 or f64.
struct RawNumbers {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  float operator[](std::int64_t i) const;
};

struct LayerLookup {
  const std::int32_t* picks = nullptr;  // [N, H, knn], best first
  RawNumbers weights;                   // [N, H, knn]; no data unless asked for
  RawNumbers gate;                      // [N, v_dim] swilu_projection(x); no data unless asked for
};

struct LookupPass {
  const ScoreRows& rows;  // N of them
  std::int64_t heads = 0, knn = 0;
  std::vector<LayerLookup> memories;  // in the order of the model's memory layers

  std::int64_t size() const { return rows.size(); }
};

struct LookupWishes {
  bool weights = false, gate = false;
};

// Fills the rows of the next pass; false when there is none.
using NextPass = std::function<bool(ScoreRows&)>;

// Runs every pass that `next` gives and shows its lookups to `visit`, in their order; what `visit`
// sees is gone when it returns.
void read_lookups(InferenceModel& model, const LookupWishes& wishes, const NextPass& next,
                  const std::function<void(const LookupPass&)>& visit);

// Of one pass.
void read_lookups(InferenceModel& model, const LookupWishes& wishes, const ScoreRows& rows,
                  const std::function<void(const LookupPass&)>& visit);

}  // namespace memengine
