// A memory layer beside the dense feed-forward of its block, not in its place:
//
//     out = feed_forward(x) + memory(x)
//
// This is how a memory is added to a model that exists: while the memory's output is exactly zero
// (MemoryLayer::start_silent), the sum is the feed-forward's own output to the last bit.
#pragma once

#include <memory>

#include "model/feed_forward.h"
#include "model/memory/memory_layer.h"

namespace memengine {

class MemoryBesideFeedForward : public FeedForwardLayer {
 public:
  MemoryBesideFeedForward(std::unique_ptr<DenseFeedForward> dense,
                          std::unique_ptr<MemoryLayer> memory, std::int64_t dim)
      : dense_(std::move(dense)), memory_(std::move(memory)), dim_(dim) {}

  void plan(Arena& kept, Arena& temporary, std::int64_t tokens, DType dtype,
            Wanted wanted) override;
  void forward(const Context& context, Tensor out, Tensor x, Mode mode,
               std::int64_t micro_batch) override;
  void backward(const Context& context, Tensor dx, Tensor dout, Tensor x,
                std::int64_t micro_batch) override;
  std::int64_t multiply_adds() const override;
  std::int64_t scratch_bytes(Device device) const override;

 private:
  std::unique_ptr<DenseFeedForward> dense_;
  std::unique_ptr<MemoryLayer> memory_;
  std::int64_t dim_;
  Tensor of_memory_;  // [N, C] temporary: its output, then its part of dx
};

}  // namespace memengine
