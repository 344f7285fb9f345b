// The sum of the dense gradients over ranks, while the backward pass still runs.
//
// The flat block of gradients (model/parameter.h) becomes whole from the end, the head's first, the
// embedding's last; and so does the part of it that is zeroed first, which stands before the rest.
// Each time another 16 MiB are whole, they are summed as one bucket, on a stream of its own:
//
//     main     | head | block 7 | block 6 | ... | embedding |        | norm, update
//     buckets  |      | head    | blocks 7, 6 |   ...       | the rest |
//
// Ranks that read one another's memory carry large ones by copies (copied_sum.h), others in
// messages, where what is zeroed first goes with the last bucket. The buckets are the same in every
// step, and so is their order. With one rank nothing happens.
#pragma once

#include <cstdint>
#include <memory>

#include "engine/training/exchange/copied_sum.h"
#include "kernels/runtime/runtime.h"
#include "model/parameter.h"

namespace memengine {

class GradientBuckets {
 public:
  // `gradients` [n], of which the first `zeroed` are zeroed first, lives as long as this; so does
  // the runtime. All ranks build theirs together.
  GradientBuckets(Runtime& runtime, Tensor gradients, std::int64_t zeroed,
                  std::int64_t bucket_bytes = std::int64_t{16} << 20);
  ~GradientBuckets();
  GradientBuckets(const GradientBuckets&) = delete;
  GradientBuckets& operator=(const GradientBuckets&) = delete;

  // Whether `bytes` of gradients are summed by copies where ranks share memory.
  static bool copies(Device device, std::int64_t bytes);

  // In the last backward pass of a step, on the main stream: before it; then, each time, where
  // the parts begin that are whole by now.
  void start();
  void whole_from(const GradientPlaces& first);
  // Sums what is whole: whoever exchanges next would let it wait. What is zeroed first only where
  // it is worth a sum of its own.
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
  void sum_products();
  void sum_zeroed();
  void sum(std::int64_t first, std::int64_t end);

  Runtime& runtime_;
  Tensor gradients_;
  std::int64_t bucket_bytes_;
  Context stream_;
  std::unique_ptr<CopiedSum> copied_;
  GradientPlaces ends_, whole_from_, summed_from_;
};

}  // namespace memengine
