// Device memory of a step's tokens.
#include "engine/training/batch_buffers.h"

#include <utility>
#include <vector>

#include "kernels/runtime/runtime.h"

namespace memengine {

BatchBuffers::BatchBuffers(Arena& arena, std::int64_t micro_batches, std::int64_t batch_size,
                           std::int64_t length, bool document_mask, std::int64_t window)
    : batch_size_(batch_size),
      length_(length),
      document_mask_(document_mask),
      window_(window),
      sequences_(batch_size) {
  const std::int64_t tokens = batch_size * length;
  const auto integers = [&](std::int64_t rows) {
    return arena.allocate("batches", DType::i32, {rows * tokens});
  };
  tokens_ = integers(micro_batches);
  targets_ = integers(micro_batches);
  if (document_mask_) document_start_ = integers(micro_batches);
  if (masked()) first_visible_ = integers(micro_batches);
  positions_ = integers(1);
  best_ = integers(1);
  log_probabilities_ = arena.allocate("batches", DType::f32, {tokens});
  loss_parts_ = arena.allocate("batches", DType::f64, {micro_batches});
  loss_ = arena.allocate("batches", DType::f64, {1});
}

std::int64_t BatchBuffers::planned_bytes(std::int64_t micro_batches, std::int64_t batch_size,
                                         std::int64_t length, bool document_mask,
                                         std::int64_t window) {
  Arena planned;
  BatchBuffers(planned, micro_batches, batch_size, length, document_mask, window);
  return planned.planned_bytes();
}

BatchBuffers::BatchBuffers(Device device, std::int64_t micro_batches, std::int64_t batch_size,
                           std::int64_t length, bool document_mask, std::int64_t window) {
  Arena arena(device, planned_bytes(micro_batches, batch_size, length, document_mask, window));
  *this = BatchBuffers(arena, micro_batches, batch_size, length, document_mask, window);
  arena_ = std::move(arena);
}

void BatchBuffers::initialize(const Context& context) {
  std::vector<std::int32_t> positions(static_cast<std::size_t>(batch_size_ * length_));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) % length_);
  }
  copy_bytes(context, positions_.data(), positions.data(), positions_.bytes());
}

void BatchBuffers::upload(const Context& context, const Batch& batch, std::int64_t micro_batch) {
  sequences_ = batch.batch_size;
  const std::int64_t first = micro_batch * batch_size_ * length_;
  const std::int64_t count = batch.batch_size * length_;
  const auto copy = [&](const Tensor& to, const std::int32_t* from) {
    copy_bytes(context, to.rows(first, count).data(), from, count * 4);
  };
  copy(tokens_, batch.tokens);
  copy(targets_, batch.targets);
  if (document_mask_) copy(document_start_, batch.doc_start);
}

void BatchBuffers::derive(const Context& context, std::int64_t micro_batch) const {
  if (!masked()) return;
  const std::int64_t first = micro_batch * batch_size_ * length_;
  const auto part = [&](const Tensor& tensor) {
    return tensor.rows(first, sequences_ * length_).reshape({sequences_, length_});
  };
  visible_range(context, part(first_visible_), document_mask_ ? part(document_start_) : Tensor(),
                window_);
}

TokenBatch BatchBuffers::batch(std::int64_t micro_batch) const {
  const std::int64_t first = micro_batch * batch_size_ * length_;
  const std::int64_t count = sequences_ * length_;
  TokenBatch batch;
  batch.tokens = tokens_.rows(first, count);
  batch.targets = targets_.rows(first, count);
  batch.layout.positions = positions_.rows(0, count);
  if (masked()) {
    batch.layout.first_visible = first_visible_.rows(first, count).reshape({sequences_, length_});
  }
  batch.sequences = sequences_;
  return batch;
}

}  // namespace memengine
