// The sum of the dense gradients over ranks, while the backward pass still runs.
//
// The flat block of gradients (model/parameter.h) becomes whole from its end: the head's first, the
// embedding's last. Each time another 16 MiB of it are, they are summed as one bucket, on a stream
// of its own:
//
//     main     | head | block 7 | block 6 | ... | embedding |        | norm, update
//     buckets  |      | head    | blocks 7, 6 |   ...       | the rest |
//
// Ranks that read one another's memory carry them by copies (copied_sum.h), others in messages. The
// buckets are the same in every step, and so is their order. With one rank nothing happens.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/training/exchange/copied_sum.h"
#include "kernels/runtime/runtime.h"

namespace memengine {

class GradientBuckets {
 public:
  // `gradients` [n] lives as long as this; so does the runtime. All ranks build theirs together.
  GradientBuckets(Runtime& runtime, Tensor gradients,
                  std::int64_t bucket_bytes = std::int64_t{16} << 20);
  ~GradientBuckets();
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  // In the last backward pass of a step, on the main stream: before it; then, each time, where the
  // part begins that is whole by now.
  void start();
  void whole_from(std::int64_t first);
  // Sums what is whole, however little: whoever exchanges next would let it wait.
  void sum_whole();
  // All is whole. The main stream waits for the buckets before the last one, which have the
  // gradients from the told number on; then, with finish(), for the last one.
  std::int64_t start_last();
  void finish();
  // At the end of a step, before gradients are written again: the main stream waits until no other
  // rank reads them.
  void release();

 private:
  bool idle() const;
  void sum_on_stream();

  Runtime& runtime_;
  Tensor gradients_;
  std::int64_t bucket_bytes_;
  Context stream_;
  std::unique_ptr<CopiedSum> copied_;
  std::int64_t whole_from_ = 0;
  std::int64_t summed_from_ = 0;
};

}  // namespace memengine
