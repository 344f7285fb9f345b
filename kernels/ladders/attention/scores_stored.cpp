// First rung: the T x T scores of a head are stored, as the formula has them.
#include <algorithm>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/ladders/attention/qkv.h"

namespace memengine::ladders {

void scores_stored(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
                   const AttentionShape& shape) {
  MEMENGINE_ON_CUDA(context, cuda::scores_stored(context, out, log_sum_exp, qkv, shape));
  const Heads<float> heads(out, log_sum_exp, qkv, shape);
  auto* all_scores =
      Scratch(context).take<float>(qkv.dim(0) * shape.heads * qkv.dim(1) * qkv.dim(1));
#pragma omp parallel for
  for (std::int64_t i = 0; i < qkv.dim(0) * shape.heads; ++i) {
    const HeadView<float> head = heads.view(i);
    float* scores = all_scores + i * head.length * head.length;
    for (int t = 0; t < head.length; ++t) {
      for (int s = 0; s <= t; ++s) {
        float sum = 0;
        for (int d = 0; d < head.head_dim; ++d) {
          sum += head.query[t * head.stride + d] * head.key[s * head.stride + d];
        }
        scores[t * head.length + s] = sum * head.scale;
      }
    }
    for (int t = 0; t < head.length; ++t) {
      float* row = scores + t * head.length;
      const float largest = *std::max_element(row, row + t + 1);
      float sum = 0;
      for (int s = 0; s <= t; ++s) sum += row[s] = std::exp(row[s] - largest);
      for (int s = 0; s <= t; ++s) row[s] /= sum;
      head.log_sum_exp[t] = largest + std::log(sum);
    }
    for (int t = 0; t < head.length; ++t) {
      float* to = head.out + t * head.out_stride;
      for (int d = 0; d < head.head_dim; ++d) to[d] = 0;
      for (int s = 0; s <= t; ++s) {
        const float p = scores[t * head.length + s];
        for (int d = 0; d < head.head_dim; ++d) to[d] += p * head.value[s * head.stride + d];
      }
    }
  }
}

std::int64_t scores_scratch_bytes(std::int64_t batch, std::int64_t length,
                                  const AttentionShape& shape) {
  return scratch_part<float>(batch * shape.heads * length * length);
}

}  // namespace memengine::ladders
