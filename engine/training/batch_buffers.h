// A step's batches on the device: all micro-batches of an update, uploaded before it starts.
#pragma once

#include <cstdint>

#include "io/shards/loader.h"
#include "kernels/runtime/context.h"
#include "kernels/runtime/memory/arena.h"
#include "model/transformer.h"

namespace memengine {

class BatchBuffers {
 public:
  // For `micro_batches` batches of [batch_size, length]. With `document_mask` attention stays
  // inside a document; `window` is the sliding window, 0 for none.
  BatchBuffers(Device device, std::int64_t micro_batches, std::int64_t batch_size,
               std::int64_t length, bool document_mask, std::int64_t window);

  // What that allocates.
  static std::int64_t planned_bytes(std::int64_t micro_batches, std::int64_t batch_size,
                                    std::int64_t length, bool document_mask, std::int64_t window);

  // Writes the positions, which never change.
  void initialize(const Context& context);

  // Copies a batch, of at most batch_size sequences, to the place of a micro-batch. The host
  // buffers must stay as they are until the copy is done.
  void upload(const Context& context, const Batch& batch, std::int64_t micro_batch);

  // The uploaded batch. derive() must have run on the context after upload().
  TokenBatch batch(std::int64_t micro_batch) const;

  // Computes what follows from the uploaded numbers: how far back each token may look.
  void derive(const Context& context, std::int64_t micro_batch) const;

  // Each micro-batch's part of the step's loss, f64 [micro_batches], and their sum, f64 [1].
  Tensor loss_parts() const { return loss_parts_; }
  Tensor loss() const { return loss_; }
  // Working memory for validation: [N].
  Tensor log_probabilities() const { return log_probabilities_; }
  Tensor best() const { return best_; }

 private:
  BatchBuffers(Arena& arena, std::int64_t micro_batches, std::int64_t batch_size,
               std::int64_t length, bool document_mask, std::int64_t window);

  bool masked() const { return document_mask_ || window_ > 0; }

  std::int64_t batch_size_ = 0;
  std::int64_t length_ = 0;
  bool document_mask_ = false;
  std::int64_t window_ = 0;
  Arena arena_;
  Tensor tokens_, targets_, document_start_, first_visible_;  // [micro_batches, N]
  Tensor positions_;                                          // [N]
  Tensor loss_parts_, loss_, log_probabilities_, best_;
  std::int64_t sequences_ = 0;  // of the batches uploaded last
};

}  // namespace memengine
