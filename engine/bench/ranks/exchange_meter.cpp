// Events or a clock around every exchange.
#include "engine/bench/ranks/exchange_meter.h"

#include <algorithm>
#include <numeric>

#include "engine/bench/timing.h"

namespace memengine::bench {

template <typename Exchange>
void ExchangeMeter::measure(const Context& context, double bytes, Exchange&& exchange) {
  if (!observes_) return exchange();
  if (next_step_) calls_.clear();
  next_step_ = false;
  on_device_ = context.on_cuda();
  Call& call = calls_.emplace_back();
  call.purpose = purpose();
  call.bytes = bytes;
  call.begin.record(context);
  const double begin = now_seconds();
  exchange();
  call.seconds = now_seconds() - begin;
  call.end.record(context);
}

// As a ring adds up: each rank passes on all parts but one, twice.
void ExchangeMeter::all_reduce_sum(const Context& context, Tensor values) {
  const double sent = 2.0 * (size() - 1) / size() * static_cast<double>(values.bytes());
  measure(context, sent, [&] { ranks_.all_reduce_sum(context, values); });
}

void ExchangeMeter::all_gather(const Context& context, Tensor all, Tensor mine) {
  const double sent = (size() - 1) * static_cast<double>(mine.bytes());
  measure(context, sent, [&] { ranks_.all_gather(context, all, mine); });
}

void ExchangeMeter::all_to_all(const Context& context, void* received,
                               std::span<const std::int64_t> received_bytes, const void* sent,
                               std::span<const std::int64_t> sent_bytes) {
  const std::int64_t all = std::accumulate(sent_bytes.begin(), sent_bytes.end(), std::int64_t{0});
  const auto to_others = static_cast<double>(all - sent_bytes[static_cast<std::size_t>(rank())]);
  measure(context, to_others,
          [&] { ranks_.all_to_all(context, received, received_bytes, sent, sent_bytes); });
}

void ExchangeMeter::broadcast(const Context& context, Tensor values, int root) {
  const double sent = root == rank() ? static_cast<double>(values.bytes()) : 0;
  measure(context, sent, [&] { ranks_.broadcast(context, values, root); });
}

void ExchangeMeter::meet(const Context& context) {
  const ExchangePurpose purpose(*this, "waits before reading at others");
  measure(context, 0, [&] { ranks_.meet(context); });
}

void ExchangeMeter::end_step() {
  ++steps_;
  for (Call& call : calls_) {
    const auto known = std::find_if(sums_.begin(), sums_.end(), [&](const ExchangeShare& share) {
      return share.purpose == call.purpose;
    });
    ExchangeShare& sum = known == sums_.end() ? sums_.emplace_back() : *known;
    sum.purpose = call.purpose;
    sum.calls += 1;
    sum.bytes += call.bytes;
    sum.seconds += on_device_ ? call.begin.seconds_until(call.end) : call.seconds;
  }
}

std::vector<ExchangeShare> ExchangeMeter::shares() {
  std::vector<ExchangeShare> shares = std::move(sums_);
  for (ExchangeShare& share : shares) {
    share.calls /= steps_;
    share.bytes /= steps_;
    share.seconds /= steps_;
  }
  std::stable_sort(
      shares.begin(), shares.end(),
      [](const ExchangeShare& a, const ExchangeShare& b) { return a.seconds > b.seconds; });
  sums_.clear();
  steps_ = 0;
  return shares;
}

}  // namespace memengine::bench
