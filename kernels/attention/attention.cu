// Attention on CUDA: checks, and the way to the kernels in attention/.
//
//     attention/forward.cuh, backward.cuh   one algorithm for FP32 and BF16, on tensor cores
//     attention/tiles.cuh, tensor_core.cuh  what they are built of
//     attention/delta.cu                    rowsum(dout * out), before the backward pass
//     attention/hopper/                     BF16 heads of 32, 64, 128 on Hopper
//     attention/in_double.cu                FP32 to the last digit, for evaluation
//     attention/cached.cu                   decoding
#include "kernels/attention/attention.h"

#include "kernels/attention/hopper/hopper.h"
#include "kernels/attention/problem.cuh"
#include "kernels/attention/tile_plan.h"
#include "kernels/device_math.cuh"

namespace memengine::cuda {
namespace {

AttentionProblem make_problem(const Context& context, Tensor qkv, Tensor first_visible,
                              const AttentionShape& shape) {
  shape.check();
  const std::int64_t batch = qkv.dim(0), length = qkv.dim(1);
  const std::int64_t width = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  constexpr std::int64_t limit = 1 << 20;  // the grid's y dimension, in tiles of 32 tokens and more
  if (length > limit || width > limit) {
    fail_internal("attention on CUDA takes at most {} tokens per sequence, not {}", limit, length);
  }
  return {.batch = static_cast<int>(batch),
          .length = static_cast<int>(length),
          .heads = static_cast<int>(shape.heads),
          .kv_heads = static_cast<int>(shape.kv_heads),
          .head_dim = static_cast<int>(shape.head_dim),
          .first_visible = first_visible.empty() ? nullptr : first_visible.as<const std::int32_t>(),
          .hidden = nullptr,
          .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim)),
          .block_shared_bytes = context.block_shared_bytes};
}

#if MEMENGINE_HAS_HOPPER
// A context that grants a block less shared memory than the GPU has gets the kernels of such GPUs.
bool takes_hopper_kernel(const Context& context, DType dtype, std::int64_t head_dim) {
  return context.block_shared_bytes >= large_shared_memory && hopper::can_run(dtype, head_dim);
}
#endif

constexpr int range_threads = 256;

__global__ void __launch_bounds__(range_threads)
    visible_range_kernel(std::int32_t* first_visible, const std::int32_t* document_start,
                         std::int64_t size, std::int64_t length, std::int64_t window) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= size) return;
  const std::int64_t in_window = window > 0 ? i % length - window + 1 : 0;
  const std::int64_t start = document_start == nullptr ? 0 : document_start[i];
  first_visible[i] = static_cast<std::int32_t>(max(max(start, in_window), std::int64_t{0}));
}

}  // namespace

void visible_range(const Context& context, Tensor first_visible, Tensor document_start,
                   std::int64_t window) {
  if (first_visible.size() == 0) return;
  visible_range_kernel<<<grid_size(ceil_divide(first_visible.size(), range_threads)), range_threads,
                         0, context.stream>>>(
      first_visible.as<std::int32_t>(),
      document_start.empty() ? nullptr : document_start.as<const std::int32_t>(),
      first_visible.size(), first_visible.dim(1), window);
  MEMENGINE_LAUNCH_CHECK("visible_range");
}

void attention_forward(const Context& context, Tensor out, Tensor log_sum_exp, Tensor qkv,
                       Tensor first_visible, const AttentionShape& shape, Tensor hidden) {
  if (out.size() == 0) return;
  AttentionProblem problem = make_problem(context, qkv, first_visible, shape);
  if (!hidden.empty()) problem.hidden = hidden.as<const std::int32_t>();
#if MEMENGINE_HAS_HOPPER
  if (takes_hopper_kernel(context, qkv.dtype(), shape.head_dim)) {
    hopper::attention_forward(context.stream, out.as<bfloat16>(), log_sum_exp.as<float>(),
                              qkv.as<const bfloat16>(), problem);
    return;
  }
#endif
  if (context.sums_in_double && qkv.dtype() == DType::f32) {
    attention_forward_in_double(context.stream, out.as<float>(), log_sum_exp.as<float>(),
                                qkv.as<const float>(), problem);
    return;
  }
  dispatch_storage("attention_forward", qkv.dtype(), [&]<typename T>() {
    attention_forward(context.stream, out.as<T>(), log_sum_exp.as<float>(), qkv.as<const T>(),
                      problem);
  });
}

std::int64_t attention_scratch_bytes(DType dtype, std::int64_t batch, std::int64_t length,
                                     const AttentionShape& shape) {
  std::int64_t bytes = scratch_part<float>(batch * shape.heads * length);  // delta
#if MEMENGINE_HAS_HOPPER
  if (hopper::can_run(dtype, shape.head_dim)) {
    bytes = std::max(bytes, scratch_part<unsigned char>(hopper::backward_scratch_bytes(
                                batch, length, shape.heads, shape.head_dim)));
  }
#endif
  return bytes;
}

void attention_backward(const Context& context, Tensor dqkv, Tensor dout, Tensor qkv, Tensor out,
                        Tensor log_sum_exp, Tensor first_visible, const AttentionShape& shape,
                        const AttentionRotation& rotation) {
  if (out.size() == 0) return;
  const AttentionProblem problem = make_problem(context, qkv, first_visible, shape);
#if MEMENGINE_HAS_HOPPER
  if (takes_hopper_kernel(context, qkv.dtype(), shape.head_dim)) {
    auto* scratch = Scratch(context).take<unsigned char>(hopper::backward_scratch_bytes(
        problem.batch, problem.length, problem.heads, problem.head_dim));
    hopper::attention_backward(context.stream, dqkv.as<bfloat16>(), dout.as<const bfloat16>(),
                               qkv.as<const bfloat16>(), out.as<const bfloat16>(),
                               log_sum_exp.as<const float>(), scratch, problem, rotation);
    return;
  }
#endif
  float* delta = Scratch(context).take<float>(log_sum_exp.size());
  dispatch_storage("attention_backward", qkv.dtype(), [&]<typename T>() {
    attention_delta(context.stream, delta, dout.as<const T>(), out.as<const T>(), problem);
    attention_backward(context.stream, dqkv.as<T>(), dout.as<const T>(), qkv.as<const T>(),
                       log_sum_exp.as<const float>(), delta, problem);
  });
  if (rotation.positions.empty()) return;
  const std::int64_t all_heads = shape.heads + 2 * shape.kv_heads;
  cuda::rope_backward(context, dqkv.reshape({dqkv.dim(0) * dqkv.dim(1), all_heads, shape.head_dim}),
                      rotation.positions, shape.heads + shape.kv_heads, rotation.angles);
}

}  // namespace memengine::cuda
