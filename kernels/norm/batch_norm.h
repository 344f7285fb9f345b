// Batch normalisation of the queries (Ioffe & Szegedy 2015; product-key memories need it, Lample et
// al. 2019 section 4.5): each of the F = H * k_dim features is normalised over the N tokens.
//
//     out = (x - mean) / sqrt(variance + 1e-5) * weight + bias
//
// Training uses the batch's statistics (biased variance) and moves the running averages by
// momentum 0.1 (with the unbiased variance, as PyTorch does); evaluation uses the running averages.
// Sums over the batch pass through the communicator, so several ranks see one batch.
#pragma once

#include "kernels/runtime/context.h"

namespace memengine {

// x, out [N, F] (out may be x). mean, inverse_std [F] f32 (f64 for f64): the batch's, kept for the
// backward pass. running_mean, running_variance [F] f32 (f64) updated. weight, bias [F] f32 (f64).
void batch_norm_forward_train(const Context& context, Tensor out, Tensor mean, Tensor inverse_std,
                              Tensor running_mean, Tensor running_variance, Tensor x, Tensor weight,
                              Tensor bias);

// out [N, F] from the running averages. out may be x.
void batch_norm_forward_eval(const Context& context, Tensor out, Tensor x, Tensor running_mean,
                             Tensor running_variance, Tensor weight, Tensor bias);

// dx [N, F] overwritten (may be dout); dweight, dbias [F] +=. x is the forward's input.
void batch_norm_backward(const Context& context, Tensor dx, Tensor dweight, Tensor dbias,
                         Tensor dout, Tensor x, Tensor mean, Tensor inverse_std, Tensor weight);

std::int64_t batch_norm_scratch_bytes(Device device, std::int64_t rows, std::int64_t features);

namespace cuda {
decltype(memengine::batch_norm_forward_train) batch_norm_forward_train;
decltype(memengine::batch_norm_forward_eval) batch_norm_forward_eval;
decltype(memengine::batch_norm_backward) batch_norm_backward;
std::int64_t batch_norm_scratch_bytes(std::int64_t rows, std::int64_t features);
}  // namespace cuda

}  // namespace memengine
