#include "engine/training/watch/attainable_speed.h"

#include <algorithm>
#include <vector>

#include "engine/clock.h"
#include "kernels/linear/linear.h"
#include "kernels/runtime/bfloat16.h"
#include "kernels/runtime/memory/arena.h"
#include "kernels/runtime/philox.h"

namespace memengine {
namespace {

// Numbers of both signs, nowhere zero, the same ones again and again: zeros switch fewer
// transistors, and a GPU multiplies them faster than real operands.
template <typename Number, typename Convert>
void fill_with_pattern(const Context& context, const Tensor& x, Convert convert) {
  std::vector<Number> pattern(1 << 16);
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const auto word = static_cast<float>(philox(0, 0, i).word[0] | 1U);
    pattern[i] = convert(word * 0x1p-31F - 1.0F);
  }
  for (std::int64_t first = 0; first < x.size();
       first += static_cast<std::int64_t>(pattern.size())) {
    const auto count = std::min(static_cast<std::int64_t>(pattern.size()), x.size() - first);
    copy_bytes(context, x.as<Number>() + first, pattern.data(),
               count * static_cast<std::int64_t>(sizeof(Number)));
  }
}

}  // namespace

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
  for (const Tensor& operand : {x, weight}) {
    if (dtype == DType::bf16)
      fill_with_pattern<bfloat16>(context, operand, [](float f) { return to_bfloat16(f); });
    else
      fill_with_pattern<float>(context, operand, [](float f) { return f; });
  }
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
