// Second rung: a query walks over its keys once. It keeps the largest score so far, and the sums of
// exponentials and of values relative to it; where a larger one comes, both are scaled down
// (Milakov and Gimelshein 2018). No score is stored.
#include <cmath>

#include "kernels/dispatch.h"
#include "kernels/ladders/attention/qkv.h"

namespace memengine::ladders {

void online(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
            const AttentionShape& shape) {
  MEMENGINE_ON_CUDA(context, cuda::online(context, out, log_sum_exp, qkv, shape));
  const Heads<float> heads(out, log_sum_exp, qkv, shape);
#pragma omp parallel for
  for (std::int64_t i = 0; i < qkv.dim(0) * shape.heads; ++i) {
    const HeadView<float> head = heads.view(i);
    for (int t = 0; t < head.length; ++t) {
      float* to = head.out + t * head.out_stride;
      for (int d = 0; d < head.head_dim; ++d) to[d] = 0;
      float largest = -INFINITY, sum = 0;
      for (int s = 0; s <= t; ++s) {
        float score = 0;
        for (int d = 0; d < head.head_dim; ++d) {
          score += head.query[t * head.stride + d] * head.key[s * head.stride + d];
        }
        score *= head.scale;
        if (score > largest) {
          const float shrink = std::exp(largest - score);
          sum *= shrink;
          for (int d = 0; d < head.head_dim; ++d) to[d] *= shrink;
          largest = score;
        }
        const float p = std::exp(score - largest);
        sum += p;
        for (int d = 0; d < head.head_dim; ++d) to[d] += p * head.value[s * head.stride + d];
      }
      for (int d = 0; d < head.head_dim; ++d) to[d] /= sum;
      head.log_sum_exp[t] = largest + std::log(sum);
    }
  }
}

}  // namespace memengine::ladders
