// AdamW (Loshchilov & Hutter 2019) over one flat block of parameters.
//
// All dense parameters of a model stand one after the other, so one call updates them all. Master
// weights and moments are FP32 whatever the compute dtype.
#pragma once

#include "kernels/runtime/context.h"
#include "optim/schedule.h"

namespace memengine {

struct AdamHyperparameters {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
  double weight_decay = 0.1;
};

// Device-side description of the update under way: written once (schedule) or by kernels (the
// rest).
//
// log_decay is history, not plan: entry t is what has decayed in updates 1 to t as they were really
// made, so an update that is left out adds nothing, and what a resumed run changes about learning
// rates counts from there on. Entries past `step` mean nothing yet.
struct UpdateState {
  Tensor schedule;     // u8 [total + 1] ScheduleEntry
  Tensor log_decay;    // f64 [total + 1]: cumulative log decay of the value rows; [0] = 0
  Tensor step;         // i32 [1]: updates done so far; the update under way is step + 1
  Tensor dense_scale;  // f32 [1]: what every dense gradient is multiplied by (clipping)
  Tensor value_scale;  // f32 [1]: likewise for the value rows
};

// scale [1] f32 = min(1, max_norm / (norm + 1e-6)), norm [1] f64 = sqrt(square_sum [1] f64).
// max_norm <= 0: no clipping. A norm that is not finite gives scale NaN: the updates then leave
// everything as it is.
void clip_scale(const Context& context, Tensor scale, Tensor norm, Tensor square_sum,
                double max_norm);

// weights, first_moment, second_moment, gradients: [n] f32 (or f64, CPU only), updated in place but
// for the gradients. compute [n] bf16 gets the rounded new weights, unless empty. With g = gradient
// * scale:
//   m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
//   w = w (1 - lr decay) - lr (m / bc1) / (sqrt(v / bc2) + epsilon)
// A scale that is NaN leaves all as it is.
void adamw(const Context& context, Tensor weights, Tensor compute, Tensor first_moment,
           Tensor second_moment, Tensor gradients, const UpdateState& state,
           const AdamHyperparameters& hyperparameters);

// Ends an update: log_decay[step + 1] = log_decay[step] + the schedule's value_log_keep, or + 0
// where value_scale is NaN (nothing was updated, so nothing decays); then step += 1.
void advance_step(const Context& context, const UpdateState& state);

namespace cuda {
decltype(memengine::clip_scale) clip_scale;
decltype(memengine::adamw) adamw;
decltype(memengine::advance_step) advance_step;
}  // namespace cuda

}  // namespace memengine
