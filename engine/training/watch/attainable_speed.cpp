#include "engine/training/watch/attainable_speed.h"

#include <algorithm>

#include "engine/clock.h"
#include "kernels/linear/linear.h"
#include "kernels/runtime/memory/arena.h"

namespace memengine {

double measure_attainable_flops(Runtime& runtime, bool bf16, bool allow_tf32) {
  runtime.context().allow_tf32 = allow_tf32;
  const Context& context = runtime.context();
  const bool on_gpu = context.on_cuda();
  const DType dtype = on_gpu && bf16 ? DType::bf16 : DType::f32;
  const std::int64_t rows = on_gpu ? 8192 : 384, columns = on_gpu ? 4096 : 384;
  Arena plan, arena;
  const auto build = [&](Arena& from, Tensor& x, Tensor& weight, Tensor& out) {
    x = from.allocate("scratch", dtype, {rows, columns});
    weight = from.allocate("scratch", dtype, {columns, columns});
    out = from.allocate("scratch", dtype, {rows, columns});
  };
  Tensor x, weight, out;
  build(plan, x, weight, out);
  arena = Arena(context.device, plan.planned_bytes());
  build(arena, x, weight, out);
  const int rounds = 3, products = on_gpu ? 8 : 1;
  double best = 0;
  for (int round = 0; round < rounds; ++round) {
    runtime.synchronize();
    const double begin = now_seconds();
    for (int i = 0; i < products; ++i) linear_forward(context, out, x, weight, Tensor());
    runtime.synchronize();
    const double flops = 2.0 * static_cast<double>(rows * columns * columns) * products;
    if (round > 0) best = std::max(best, flops / std::max(now_seconds() - begin, 1e-9));
  }
  return best;
}

}  // namespace memengine
