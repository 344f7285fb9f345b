#include "model/memory/memory_beside.h"

#include <algorithm>

#include "kernels/pointwise/elementwise.h"

namespace memengine {

// The two run one after the other and borrow the same memory.
void MemoryBesideFeedForward::plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
                                   Wanted wanted) {
  of_memory_ = temporary.allocate("activations", dtype, {tokens, dim_});
  const std::int64_t mark = temporary.mark();
  dense_->plan(kept, temporary, tokens, dtype, wanted);
  temporary.rewind(mark);
  memory_->plan(kept, temporary, tokens, dtype, wanted);
}

void MemoryBesideFeedForward::forward(const Context& context, Tensor out, Tensor x, Mode mode,
                                      std::int64_t micro_batch) {
  const Tensor of_memory = of_memory_.rows(0, x.dim(0));
  dense_->forward(context, out, x, mode, micro_batch);
  memory_->forward(context, of_memory, x, mode, micro_batch);
  add(context, out, out, of_memory);
}

void MemoryBesideFeedForward::backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                                       std::int64_t micro_batch) {
  dense_->backward(context, dx, dout, x, micro_batch);
  if (dx.empty()) return memory_->backward(context, {}, dout, x, micro_batch);
  const Tensor of_memory = of_memory_.rows(0, x.dim(0));
  memory_->backward(context, of_memory, dout, x, micro_batch);
  add(context, dx, dx, of_memory);
}

std::int64_t MemoryBesideFeedForward::multiply_adds() const {
  return dense_->multiply_adds() + memory_->multiply_adds();
}

std::int64_t MemoryBesideFeedForward::scratch_bytes(Device device) const {
  return std::max(dense_->scratch_bytes(device), memory_->scratch_bytes(device));
}

}  // namespace memengine
