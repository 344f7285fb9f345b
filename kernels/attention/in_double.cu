// Attention forward of FP32 tensors, computed in double, for evaluation to the last digit (see
// gemm_in_double.cu for why). Not fast: no tensor cores, and every query reads its keys alone. In
// an evaluation the matrix products cost far more.
//
// A warp computes one query of one head. It takes 32 keys at a time: each lane the score of one
// key, then all lanes together the sum of the 32 values, a lane the columns lane, lane + 32, ...
// The sums are relative to the running maximum m of the scores:
//
//     s = scale q k;  p = e^(s - m);  l += sum p;  o += p v;  at the end o / l
#include "kernels/attention/problem.cuh"
#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

constexpr int queries_per_block = 4;  // a warp each; neighbours find their keys in the cache
constexpr int widest_head = 128;
constexpr int columns_per_lane = widest_head / warp_size;
constexpr double nothing_yet = -1e300;

__device__ double maximum_of_warp(double x) {
  for (int distance = warp_size / 2; distance > 0; distance /= 2)
    x = fmax(x, __shfl_xor_sync(0xffffffffU, x, distance));
  return x;
}

__global__ void __launch_bounds__(queries_per_block* warp_size)
    attention_in_double_kernel(float* out, float* log_sum_exp, const float* qkv,
                               AttentionProblem problem, int blocks_per_head) {
  const int head_of_batch = static_cast<int>(blockIdx.x) / blocks_per_head;
  const int b = head_of_batch / problem.heads;
  const int head = head_of_batch % problem.heads;
  const int kv_head = head / problem.group();
  const int lane = static_cast<int>(threadIdx.x) % warp_size;
  const int query = static_cast<int>(blockIdx.x) % blocks_per_head * queries_per_block +
                    static_cast<int>(threadIdx.x) / warp_size;
  if (query >= problem.length) return;  // a whole warp

  const std::int64_t stride = problem.qkv_stride();
  const int head_dim = problem.head_dim;
  const float* q = qkv + problem.qkv_offset(b, head) + query * stride;
  const float* k = qkv + problem.qkv_offset(b, problem.heads + kv_head);
  const float* v = qkv + problem.qkv_offset(b, problem.heads + problem.kv_heads + kv_head);
  const int2 hidden = problem.hidden == nullptr ? int2{0, 0} : problem.hidden_keys(b, query);
  const double scale = 1.0 / sqrt(static_cast<double>(head_dim));

  double output[columns_per_lane] = {};
  double maximum = nothing_yet;
  double sum = 0;  // of this lane's keys
  for (int first = problem.first_key(b, query); first <= query; first += warp_size) {
    const int key = first + lane;
    double score = nothing_yet;
    if (key <= query && (key < hidden.x || key >= hidden.y)) {
      double product = 0;
      for (int d = 0; d < head_dim; ++d)
        product += static_cast<double>(q[d]) * static_cast<double>(k[key * stride + d]);
      score = product * scale;
    }
    const double raised = fmax(maximum, maximum_of_warp(score));
    const double rescale = exp(maximum - raised);
    const double p = score == nothing_yet ? 0.0 : exp(score - raised);
    maximum = raised;
    sum = sum * rescale + p;
#pragma unroll
    for (int i = 0; i < columns_per_lane; ++i) output[i] *= rescale;
    const int keys = min(warp_size, query + 1 - first);
    for (int j = 0; j < keys; ++j) {
      const double weight = __shfl_sync(0xffffffffU, p, j);
      const float* value = v + (first + j) * stride;
#pragma unroll
      for (int i = 0; i < columns_per_lane; ++i) {
        const int column = lane + i * warp_size;
        if (column < head_dim) output[i] += weight * static_cast<double>(value[column]);
      }
    }
  }

  sum = warp_sum(sum);
  float* row =
      out + problem.out_offset(b, head) + static_cast<std::int64_t>(query) * problem.out_stride();
#pragma unroll
  for (int i = 0; i < columns_per_lane; ++i) {
    const int column = lane + i * warp_size;
    if (column < head_dim) row[column] = static_cast<float>(output[i] / sum);
  }
  if (lane == 0)
    log_sum_exp[problem.row_offset(b, head) + query] = static_cast<float>(maximum + log(sum));
}

}  // namespace

void attention_forward_in_double(cudaStream_t stream, float* out, float* log_sum_exp,
                                 const float* qkv, const AttentionProblem& problem) {
  const std::int64_t blocks_per_head = ceil_divide(problem.length, queries_per_block);
  attention_in_double_kernel<<<grid_size(blocks_per_head * problem.batch * problem.heads),
                               queries_per_block * warp_size, 0, stream>>>(
      out, log_sum_exp, qkv, problem, static_cast<int>(blocks_per_head));
  MEMENGINE_LAUNCH_CHECK("attention_forward (in double)");
}

}  // namespace memengine::cuda
