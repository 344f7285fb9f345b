// A ladder to attention's forward pass (attention_forward() in kernels/attention/attention.h), from
// the obvious way on.
//
//     scores_stored  all scores, then their softmax, then the sum of the values
//     online         one query at a time walks over its keys and stores no scores
//     tiles          (CUDA; the CPU's last rung does it) 64 queries share the keys and values that
//                    they read
//
// Tensors as in attention_forward(), in FP32 on the CPU and in BF16 on CUDA; a query sees all keys
// up to its own. On CUDA head_dim is at most 128, that of `tiles` is 64.
#pragma once

#include "kernels/attention/attention.h"

namespace memengine::ladders {

void scores_stored(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
                   const AttentionShape& shape);
void online(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
            const AttentionShape& shape);

// Of scores_stored, B sequences of T tokens.
std::int64_t scores_scratch_bytes(std::int64_t batch, std::int64_t length,
                                  const AttentionShape& shape);

namespace cuda {
decltype(ladders::scores_stored) scores_stored;
decltype(ladders::online) online;
void tiles(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
           const AttentionShape& shape);
}  // namespace cuda

}  // namespace memengine::ladders
