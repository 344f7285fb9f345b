// Which part of the gradients is summed when.
#include "engine/training/exchange/gradient_buckets.h"

#include <algorithm>

#include "kernels/runtime/communicator.h"
#include "kernels/runtime/runtime_cuda.h"

namespace memengine {

GradientBuckets::GradientBuckets(Runtime& runtime, Tensor gradients, std::int64_t bucket_bytes)
    : runtime_(runtime),
      gradients_(gradients),
      bucket_bytes_(bucket_bytes),
      stream_(runtime.link()) {
  if constexpr (cuda_build) {
    if (!idle() && stream_.on_cuda()) cuda::open_side(stream_);
  }
  Communicator& ranks = *stream_.communicator;
  if (!idle() && ranks.shares_memory()) {
    copied_ = CopiedSum::make(ranks, stream_.device, gradients);
  }
}

GradientBuckets::~GradientBuckets() {
  if constexpr (cuda_build) {
    if (!idle() && stream_.on_cuda()) cuda::close_lane(stream_);
  }
}

bool GradientBuckets::idle() const {
  return runtime_.context().communicator->size() == 1 || gradients_.size() == 0;
}

void GradientBuckets::start() {
  whole_from_ = summed_from_ = gradients_.size();
}

void GradientBuckets::whole_from(std::int64_t first) {
  whole_from_ = std::min(whole_from_, first);
  const std::int64_t bytes = (summed_from_ - whole_from_) * element_bytes(gradients_.dtype());
  if (bytes >= bucket_bytes_) sum_whole();
}

void GradientBuckets::sum_whole() {
  if (idle() || whole_from_ == summed_from_) return;
  wait_for(stream_, runtime_.context());
  sum_on_stream();
}

void GradientBuckets::sum_on_stream() {
  const std::int64_t count = summed_from_ - whole_from_;
  const ExchangePurpose purpose(*stream_.communicator, "dense gradients");
  if (copied_ != nullptr) {
    copied_->sum(stream_, whole_from_, count);
  } else {
    stream_.communicator->all_reduce_sum(stream_, gradients_.rows(whole_from_, count));
  }
  summed_from_ = whole_from_;
}

std::int64_t GradientBuckets::start_last() {
  if (idle()) return 0;
  const std::int64_t before = summed_from_;
  whole_from_ = 0;
  wait_for(stream_, runtime_.context());
  wait_for(runtime_.context(), stream_);
  if (summed_from_ > 0) sum_on_stream();
  return before;
}

void GradientBuckets::finish() {
  if (idle()) return;
  wait_for(runtime_.context(), stream_);
  if (copied_ != nullptr) copied_->end(stream_);
}

void GradientBuckets::release() {
  if (!idle()) wait_for(runtime_.context(), stream_);
}

}  // namespace memengine
